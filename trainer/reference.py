"""The whole model in plain torch, from weights under their released names: the independent judge.

It shares nothing with the modules that train but the recipe, calls no kernel and drops no token. Of
a layer with input x, as the released ``modeling_minimax_text_01.py`` computes it (MiniMax-01,
arXiv:2501.08313, section 2):

    post-norm (DeepNorm)    x̂ = norm₁(x)   y = α x̂ + mixer(x̂)   ŷ = norm₂(y)   z = α ŷ + experts(ŷ)
    pre-norm                x̂ = norm₁(x)   y = x + mixer(x̂)     ŷ = norm₂(y)   z = y + experts(ŷ)
    lightning, per head     q, k, v = SiLU(W x̂)    S_t = e^-s S_{t-1} + k_t v_tᵀ    o_t = q_tᵀ S_t
                            W_out (norm(o of all heads) · sigmoid(W_gate x̂))
    softmax, per head       W_o softmax(R q (R k)ᵀ / √d, causal) v; R turns ``rotary_dim`` features
    experts                 p = softmax(W_gate ŷ)
                            Σ over the top k of (p_e / Σ p) w2 (SiLU(w1 ŷ) · w3 ŷ)

Everything is computed in the weights' dtype, norms and the router's softmax at least in float32.
Shapes: B sequences, T tokens, H heads of width d, h hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from trainer.models.recipe import ModelRecipe

Slopes = Callable[[int, int, int], Tensor]
"""``(heads, layer, layers)`` to float64 ``[heads]``."""


def released_slopes(heads: int, layer: int, layers: int) -> Tensor:
    """``alibi_h · (1 - layer/(layers - 1) + 1e-5)``, as the released model decays.

    ``alibi_h = 2^(-8(h+1)/heads)`` for a power of two; otherwise those of the largest power of two
    below, followed by every second one of the next power of two. float64 ``[heads]``.
    """
    alibi: list[float] = []
    power = 2 ** (heads.bit_length() - 1)
    alibi += [2 ** (-8 * (h + 1) / power) for h in range(power)]
    alibi += [2 ** (-8 * (h + 1) / (2 * power)) for h in range(0, 2 * (heads - power), 2)]
    factor = 1 - layer / max(layers - 1, 1) + 1e-5
    return torch.tensor(alibi, dtype=torch.float64) * factor


def transformers_slopes(heads: int, layer: int, layers: int) -> Tensor:
    """As ``MiniMaxLightningAttention`` of transformers 5.23: another divisor, plain powers of two.

    float64 ``[heads]``: ``2^(-8(h+1)/heads) · (1 - layer/(layers - 1 + 1e-5) + 1e-5)``.
    """
    factor = 1 - layer / (layers - 1 + 1e-5) + 1e-5
    powers = [2 ** (-8 * (h + 1) / heads) for h in range(heads)]
    return torch.tensor(powers, dtype=torch.float64) * factor


@dataclass(frozen=True)
class State:
    """What decoding carries from token to token.

    ``layers``: of a lightning layer its state ``[B, H, d, d]``; of a softmax layer the keys
    (turned) and values so far, ``[B, kv_heads, position, d]`` each. ``position``: the tokens read
    so far.
    """

    layers: tuple[Tensor | tuple[Tensor, Tensor], ...]
    position: int


@dataclass(frozen=True)
class Reference:
    """A model: its recipe, its weights under their released names, its rotary base, its slopes."""

    recipe: ModelRecipe
    weights: Mapping[str, Tensor]
    rope_base: float | None = None
    slopes: Slopes = released_slopes

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[B, T, V]`` of sequences ``[B, T]`` int64."""
        return self.decode(tokens, self.start(len(tokens)))[0]

    def packed(self, tokens: Tensor, cu_seqlens: Tensor) -> Tensor:
        """Logits ``[T, V]`` of sequences laid end to end ``[T]``: each is read by itself."""
        ends = [int(end) for end in cu_seqlens]
        parts = [tokens[None, a:b] for a, b in pairwise(ends) if a < b]
        return torch.cat([self.forward(part)[0] for part in parts])

    def start(self, batch: int) -> State:
        """The state before the first token."""
        recipe, first = self.recipe, self._weight("model.embed_tokens")
        empty = first.new_zeros(batch, recipe.kv_heads, 0, recipe.head_dim)
        zero = first.new_zeros(batch, recipe.heads, recipe.head_dim, recipe.head_dim)
        softmax = [recipe.mixer_of(layer) == "softmax" for layer in range(recipe.layers)]
        return State(tuple((empty, empty) if full else zero for full in softmax), 0)

    def decode(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits ``[B, T, V]`` of the next tokens ``[B, T]``, any number of them, and the state."""
        return self.decode_embedded(self.embed(tokens), state)

    def embed(self, tokens: Tensor) -> Tensor:
        """The rows ``[…, h]`` of tokens ``[…]``."""
        return F.embedding(tokens, self._weight("model.embed_tokens"))

    def decode_embedded(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """As ``decode``, of embedded tokens ``[B, T, h]``."""
        length = x.shape[1]
        layers: list[Tensor | tuple[Tensor, Tensor]] = []
        for layer, before in enumerate(state.layers):
            x, after = self._block(layer, x, before, state.position)
            layers.append(after)
        x = rms_norm(x, self._weight("model.norm"), self.recipe.norm_eps)
        logits = F.linear(x, self._weight("lm_head"))
        return logits, State(tuple(layers), state.position + length)

    def _weight(self, name: str) -> Tensor:
        return self.weights[f"{name}.weight"]

    def _block(
        self, layer: int, x: Tensor, state: Tensor | tuple[Tensor, Tensor], position: int
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        recipe, name = self.recipe, f"model.layers.{layer}"
        post, alpha = recipe.residual == "deepnorm", recipe.residual_weight
        mixed: Tensor
        after: Tensor | tuple[Tensor, Tensor]

        normed = rms_norm(x, self._weight(f"{name}.input_layernorm"), recipe.norm_eps)
        if isinstance(state, Tensor):
            mixed, after = self._lightning(layer, normed, state)
        else:
            mixed, after = self._softmax(layer, normed, state, position)
        y = alpha * (normed if post else x) + mixed

        normed = rms_norm(y, self._weight(f"{name}.post_attention_layernorm"), recipe.norm_eps)
        return alpha * (normed if post else y) + self._experts(layer, normed), after

    def _lightning(self, layer: int, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        recipe, name = self.recipe, f"model.layers.{layer}.self_attn"
        qkv = F.silu(F.linear(x, self._weight(f"{name}.qkv_proj")))
        # Rows of the projection: head by head, in a head q, then k, then v.
        q, k, v = torch.unflatten(qkv, -1, (recipe.heads, 3, recipe.head_dim)).unbind(-2)
        slopes = self.slopes(recipe.heads, layer, recipe.layers).to(x.device)
        decay = torch.exp(-slopes).to(x.dtype)[:, None, None]
        outputs = []
        for t in range(x.shape[1]):
            state = decay * state + k[:, t, :, :, None] * v[:, t, :, None, :]
            outputs.append((q[:, t, :, None, :] @ state).flatten(1))
        o = torch.stack(outputs, 1)
        o = rms_norm(o, self._weight(f"{name}.norm"), recipe.mixer_norm_eps)
        gate = torch.sigmoid(F.linear(x, self._weight(f"{name}.output_gate")))
        return F.linear(o * gate, self._weight(f"{name}.out_proj")), state

    def _softmax(
        self, layer: int, x: Tensor, cache: tuple[Tensor, Tensor], position: int
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        recipe, name = self.recipe, f"model.layers.{layer}.self_attn"
        base = recipe.rope_base if self.rope_base is None else self.rope_base

        def heads(projection: str) -> Tensor:
            y = F.linear(x, self._weight(f"{name}.{projection}"))
            return torch.unflatten(y, -1, (-1, recipe.head_dim)).transpose(1, 2)

        q = rotate(heads("q_proj"), position, recipe.rotary_dim, base)
        k = rotate(heads("k_proj"), position, recipe.rotary_dim, base)
        k = torch.cat([cache[0], k], 2)
        v = torch.cat([cache[1], heads("v_proj")], 2)
        # Query head h reads key-value head h // (heads / kv_heads).
        group = recipe.heads // recipe.kv_heads
        scores = q @ k.repeat_interleave(group, 1).mT / recipe.head_dim**0.5
        rows = torch.arange(q.shape[2], device=x.device)[:, None] + position
        future = torch.arange(k.shape[2], device=x.device) > rows
        share = torch.softmax(wide(scores).masked_fill(future, -torch.inf), -1).to(x.dtype)
        o = (share @ v.repeat_interleave(group, 1)).transpose(1, 2).flatten(2)
        return F.linear(o, self._weight(f"{name}.o_proj")), (k, v)

    def _experts(self, layer: int, x: Tensor) -> Tensor:
        recipe, name = self.recipe, f"model.layers.{layer}.block_sparse_moe"
        flat = x.flatten(0, 1)
        probability = torch.softmax(wide(F.linear(flat, self._weight(f"{name}.gate"))), -1)
        share, choice = probability.topk(recipe.experts.top_k, -1)
        share = (share / share.sum(-1, keepdim=True)).to(x.dtype)
        output = torch.zeros_like(flat)
        for e in range(recipe.experts.count):
            token, slot = (choice == e).nonzero(as_tuple=True)
            w1, w2, w3 = (self._weight(f"{name}.experts.{e}.w{n}") for n in (1, 2, 3))
            taken = flat[token]
            y = F.linear(F.silu(F.linear(taken, w1)) * F.linear(taken, w3), w2)
            output = output.index_add(0, token, share[token, slot, None] * y)
        return output.view_as(x)


def wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``weight · x / √(mean x² + eps)`` over the last dimension; x's shape and dtype."""
    y = wide(x)
    return weight * (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def rotate(x: Tensor, position: int, rotary_dim: int, base: float) -> Tensor:
    """Turn the first ``rotary_dim`` features of ``[B, heads, T, d]``, from ``position`` on.

    Feature j and feature j + rotary_dim/2 turn as a pair, by ``position · base^(-2j/rotary_dim)``.
    """
    j = torch.arange(rotary_dim // 2, dtype=torch.float64, device=x.device)
    positions = torch.arange(position, position + x.shape[2], device=x.device)
    angle = positions[:, None] * base ** (-2 * j / rotary_dim)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :rotary_dim].chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin, x[..., rotary_dim:]], -1)
