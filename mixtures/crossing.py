"""Crosses the components of a mixture with the curriculum of a stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mixtures.errors import PlanRefused
from mixtures.spec import Component, PlanSpec


def crossed(spec: PlanSpec, components: Sequence[Component]) -> PlanSpec:
    """A stage's plan that draws as a mixture says.

    Parameters
    ----------
    spec : of the stage: its components are a length class each, or all documents, and maybe one of
        long questions, which only ``late`` draws from
    components : of the mixture, with weights

    Returns
    -------
    Each component of the mixture in each length class, named ``COMPONENT/CLASS``, of weight the
    product; so in the transition from the stage before and in the stage's end. Long questions stay
    as they are, and the mixture does not draw from their sources. Where the stage has no length
    classes these are the mixture's components, with their own names.

    Raises
    ------
    PlanRefused
        If a component has a length class of its own and the stage has classes, or no source is
        left to it.
    """
    late = {} if spec.late is None else spec.late.weights
    alone = [c for c in spec.components if c.weight == 0 and c.length is None and c.name in late]
    drawn = [c for c in spec.components if c not in alone]
    apart = {source for component in alone for source in component.sources or ()}
    found = [
        _of_class(component, one, apart) for one in drawn for component in components
    ]  # fmt: skip
    update: dict[str, object] = {"components": (*found, *alone)}
    if spec.transition is not None:
        previous = _products(spec.transition.previous, drawn, components)
        update["transition"] = {"tokens": spec.transition.tokens, "previous": previous}
    if spec.late is not None:
        # Weights of the mixture sum to ``whole``: long questions keep their share beside it.
        whole = sum(component.weight for component in components)
        weights = _products(late, drawn, components)
        weights |= {one.name: late[one.name] * whole for one in alone}
        update["late"] = {"start": spec.late.start, "weights": weights}
    return PlanSpec.model_validate({**spec.model_dump(), **update})


def _of_class(component: Component, one: Component, apart: Iterable[str]) -> Component:
    if component.length is not None and one.length is not None:
        raise PlanRefused(
            f"component {component.name!r}: found length {component.length} in a stage that has "
            "shares of length classes, expected none: the stage says how much of each"
        )
    sources = component.sources
    except_sources = tuple(sorted({*component.except_sources, *one.except_sources, *apart}))
    if one.sources is not None:
        sources = tuple(source for source in one.sources if component.draws_from(source))
        except_sources = ()
    elif sources is not None:
        sources = tuple(source for source in sources if source not in except_sources)
        except_sources = ()
    if sources == ():
        raise PlanRefused(
            f"component {component.name!r}: found no source left, expected some beside those that "
            "the stage keeps apart (long questions, pairs, and images where none are shown)"
        )
    update = {
        "name": _name(component, one),
        "length": component.length or one.length,
        "sources": sources,
        "except_sources": except_sources,
        "weight": component.weight * one.weight,
    }
    return Component.model_validate({**component.model_dump(), **update})


def _products(
    weights: Mapping[str, int], drawn: Sequence[Component], components: Sequence[Component]
) -> dict[str, int]:
    return {
        _name(component, one): component.weight * weights.get(one.name, 0)
        for one in drawn
        for component in components
    }


def _name(component: Component, one: Component) -> str:
    return component.name if one.length is None else f"{component.name}/{one.length}"
