"""The options of a command that asks an endpoint."""

from __future__ import annotations

import argparse
import os

from quality.endpoint.settings import Cost, Endpoint, Model


def add_endpoint_options(
    parser: argparse.ArgumentParser,
    answer_tokens: int,
    *,
    required: bool = True,
    images: bool = True,
) -> None:
    """Add what ``settings_of`` reads; ``answer_tokens`` is the default bound of an answer.

    ``required``: an endpoint must be named; ``images``: questions may show some.
    """
    where = parser.add_argument_group("endpoint")
    where.add_argument(
        "--endpoint", required=required, metavar="URL", help="such as http://127.0.0.1:8000/v1"
    )
    where.add_argument(
        "--model", required=required, metavar="NAME", help="as the endpoint names it"
    )
    where.add_argument(
        "--key-variable", metavar="NAME", help="environment variable that holds the API key"
    )
    where.add_argument(
        "--structured",
        choices=("schema", "object", "none"),
        default="schema",
        help="response_format: json_schema (default), json_object, or none",
    )
    where.add_argument("--temperature", type=float, default=0.0, metavar="T", help="default: 0")
    where.add_argument("--seed", type=int, default=0, metavar="S")
    where.add_argument(
        "--answer-tokens",
        type=int,
        default=answer_tokens,
        metavar="N",
        help=f"bound of an answer (default: {answer_tokens})",
    )
    pace = parser.add_argument_group("pace")
    pace.add_argument("--concurrency", type=int, default=16, metavar="N", help="default: 16")
    pace.add_argument("--timeout", type=float, default=120, metavar="S", help="of one request")
    pace.add_argument("--attempts", type=int, default=6, metavar="N", help="failed exchanges")
    pace.add_argument("--answers", type=int, default=3, metavar="N", help="unusable answers")
    pace.add_argument("--backoff", type=float, default=1, metavar="S", help="doubles each time")
    pace.add_argument("--requests-per-minute", type=float, metavar="N")
    pace.add_argument("--tokens-per-minute", type=float, metavar="N")
    cost = parser.add_argument_group("cost", "Caps cover all that the folder's answers cost.")
    cost.add_argument("--max-tokens", type=int, metavar="N", help="of prompts and answers")
    cost.add_argument("--max-cost", type=float, metavar="MONEY", help="needs prices")
    cost.add_argument("--prompt-price", type=float, default=0, metavar="MONEY", help="a million")
    cost.add_argument("--answer-price", type=float, default=0, metavar="MONEY", help="a million")
    if images:
        cost.add_argument(
            "--image-tokens", type=int, default=4096, metavar="N", help="an image takes at most"
        )
    else:
        parser.set_defaults(image_tokens=0)


def settings_of(options: argparse.Namespace) -> tuple[Endpoint, Model, Cost]:
    """The settings that the options say; raises ValueError by what is wrong with one."""
    key = None
    if options.key_variable is not None:
        key = os.environ.get(options.key_variable)
        if not key:
            raise ValueError(
                f"--key-variable: found no value in the environment variable"
                f" {options.key_variable}, expected an API key; export it"
            )
    endpoint = Endpoint(
        options.endpoint,
        key,
        concurrency=options.concurrency,
        timeout=options.timeout,
        attempts=options.attempts,
        answers=options.answers,
        backoff=options.backoff,
        requests_per_minute=options.requests_per_minute,
        tokens_per_minute=options.tokens_per_minute,
    )
    model = Model(
        options.model,
        options.temperature,
        options.answer_tokens,
        options.seed,
        options.structured,
    )
    cost = Cost(
        options.prompt_price,
        options.answer_price,
        options.max_cost,
        options.max_tokens,
        options.image_tokens,
    )
    return endpoint, model, cost
