"""Many questions to one endpoint: each asked once, answers in the order of the questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic

import aiohttp

from quality.endpoint.answers import read_answer, read_usage
from quality.endpoint.budget import Budget
from quality.endpoint.exchange import exchange, open_session
from quality.endpoint.failures import (
    NOT_ASKED,
    BadAnswer,
    EndpointError,
    Failure,
    Final,
    Interrupted,
    InvalidResponse,
    Rejected,
)
from quality.endpoint.pace import Pace
from quality.endpoint.questions import Answer, Question
from quality.endpoint.settings import Cost, Endpoint, Model
from quality.endpoint.store import AnswerStore, Kept


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Answer]):
    """What became of a question: an answer, or the reason (of ``REASONS``) and detail why not."""

    id: str
    key: str
    answer: Answer | None
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """Where a run stands. Questions that are the same as an earlier one count as kept."""

    done: int
    asked: int
    kept: int
    failed: int
    not_asked: int
    retries: int
    prompt_tokens: int
    answer_tokens: int
    money: float


Watch = Callable[[Tally], None]


def ask(
    questions: Iterable[Question[Answer]],
    endpoint: Endpoint,
    model: Model,
    store: AnswerStore,
    cost: Cost | None = None,
    watch: Watch | None = None,
) -> tuple[list[Outcome[Answer]], Tally]:
    """Ask all questions, as many at a time as ``endpoint.concurrency``.

    What the store holds is not asked again. Questions are drawn as they are needed. Outcomes come
    in the order of the questions, whatever the order of the answers. When the cap on cost is
    reached, the rest is ``not-asked``. Failed exchanges and rejections are not
    kept: a rerun asks those again.

    Raises
    ------
    EndpointError
        If the endpoint takes no question at all; what was answered before is in the store.
    """
    asker: _Asker[Answer] = _Asker(endpoint, model, store, cost or Cost(), watch)
    return asyncio.run(asker.run(questions)), asker.tally()


class _Asker(Generic[Answer]):
    """One run; made outside the event loop, used in it once."""

    def __init__(
        self,
        endpoint: Endpoint,
        model: Model,
        store: AnswerStore,
        cost: Cost,
        watch: Watch | None,
    ) -> None:
        self.endpoint = endpoint
        self.model = model
        self.store = store
        self.watch = watch
        self.pace = Pace(endpoint.requests_per_minute, endpoint.tokens_per_minute)
        self.budget = Budget(cost, store.prompt, store.answer)
        self.room = asyncio.Semaphore(endpoint.concurrency)
        self.begun: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.outcomes: dict[str, Outcome[Answer]] = {}
        self.stopped = False
        self.fatal: Exception | None = None
        self.failed_in_a_row = 0
        self.answered = False
        self.asked = self.kept = self.failed = self.not_asked = self.retries = 0

    def tally(self) -> Tally:
        done = self.asked + self.kept + self.not_asked
        prompt, answer = self.budget.prompt, self.budget.answer
        counts = (self.asked, self.kept, self.failed, self.not_asked, self.retries)
        return Tally(done, *counts, prompt, answer, self.budget.money)

    async def run(self, questions: Iterable[Question[Answer]]) -> list[Outcome[Answer]]:
        places: list[tuple[str, str]] = []
        async with open_session(self.endpoint) as session:
            try:
                for question in questions:
                    key = question.key(self.model)
                    places.append((question.id, key))
                    if key in self.begun:
                        self._count("kept", False)
                        continue
                    self.begun.add(key)
                    await self._take(session, question, key)
                    if self.fatal is not None:
                        break
                while self.tasks and self.fatal is None:
                    await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tuple(self.tasks):
                    task.cancel()
                await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.fatal is not None:
            raise self.fatal
        return [_renamed(self.outcomes[key], name) for name, key in places]

    async def _take(
        self, session: aiohttp.ClientSession, question: Question[Answer], key: str
    ) -> None:
        """Settle a question from the store, or by the cap, or set out to ask it."""
        known, given = self._known(question, key)
        if known is not None:
            self.outcomes[key] = known
            self._count("kept", known.answer is None)
            # Many kept answers in a row must not hold up the questions under way.
            await asyncio.sleep(0)
            return
        if not self.stopped:
            await self.room.acquire()
            bounds = self._bounds(question, given)
            self.stopped = not await self.budget.admit(*bounds)
        if self.stopped:
            detail = "the cap on cost is reached; raise it and run again"
            self.outcomes[key] = Outcome(question.id, key, None, NOT_ASKED, detail)
            self._count("not_asked", False)
            return
        task = asyncio.create_task(self._settle(session, question, key, given))

        def free(_: asyncio.Task[None]) -> None:
            self.tasks.discard(task)
            self.budget.release(*bounds)
            self.room.release()

        self.tasks.add(task)
        task.add_done_callback(free)

    def _known(self, question: Question[Answer], key: str) -> tuple[Outcome[Answer] | None, int]:
        """The outcome that the store settles, if it does, and how many bad answers it holds."""
        given = 0
        for kept in self.store.of(key):
            given += 1
            outcome = self._outcome(question, key, kept.body, given)
            if outcome is not None:
                return outcome, given
        return None, given

    def _outcome(
        self, question: Question[Answer], key: str, body: bytes, given: int
    ) -> Outcome[Answer] | None:
        """The outcome after ``given`` answers, of which this is the last; None: ask again."""
        try:
            return Outcome(question.id, key, read_answer(body, question.shape))
        except BadAnswer as failure:
            if given < self.endpoint.answers:
                return None
            return Outcome(question.id, key, None, failure.reason, failure.detail)
        except Final as failure:
            return Outcome(question.id, key, None, failure.reason, failure.detail)

    def _bounds(self, question: Question[Answer], given: int) -> tuple[int, int]:
        answers = self.endpoint.answers - given
        prompt = question.prompt_bound(self.budget.cost.image_tokens)
        return prompt * answers, self.model.answer_tokens * answers

    async def _settle(
        self,
        session: aiohttp.ClientSession,
        question: Question[Answer],
        key: str,
        given: int,
    ) -> None:
        try:
            outcome = await self._answered(session, question, key, given)
        except Exception as error:  # noqa: BLE001 - raised by run, once the others have ended
            self.fatal = self.fatal or error
            return
        self.outcomes[key] = outcome
        self._count("asked", outcome.answer is None)

    async def _answered(
        self,
        session: aiohttp.ClientSession,
        question: Question[Answer],
        key: str,
        given: int,
    ) -> Outcome[Answer]:
        prompt_bound = question.prompt_bound(self.budget.cost.image_tokens)
        while True:
            try:
                body = await asyncio.to_thread(question.payload, self.model, given)
                found = await self._exchanged(session, body, prompt_bound)
            except Failure as failure:
                return Outcome(question.id, key, None, failure.reason, failure.detail)
            usage = read_usage(found)
            prompt = prompt_bound if usage.prompt is None else usage.prompt
            answer = self.model.answer_tokens if usage.answer is None else usage.answer
            estimated = None in (usage.prompt, usage.answer)
            self.store.add(Kept(key, given, found, prompt, answer, estimated))
            self.budget.spend(prompt, answer)
            given += 1
            outcome = self._outcome(question, key, found, given)
            if outcome is not None:
                return outcome
            self.retries += 1

    async def _exchanged(
        self, session: aiohttp.ClientSession, body: bytes, prompt_bound: int
    ) -> bytes:
        """The body of a response, after as many tries as allowed."""
        tokens = prompt_bound // 4 + self.model.answer_tokens
        tries = 0
        while True:
            await self.pace.turn(tokens)
            tries += 1
            try:
                found = await exchange(session, self.endpoint, body)
            except Interrupted as failure:
                if tries >= self.endpoint.attempts:
                    self._lost(failure)
                    raise
                self.retries += 1
                await self._back_off(failure, tries)
            except Rejected as failure:
                self._lost(failure)
                raise
            except InvalidResponse:
                # Too large to keep: what was billed is not known, so the dearest is assumed.
                self.budget.spend(prompt_bound, self.model.answer_tokens)
                raise
            else:
                self.failed_in_a_row = 0
                self.answered = True
                return found

    async def _back_off(self, failure: Interrupted, tries: int) -> None:
        wait = self.endpoint.wait(tries)
        if failure.wait is not None:
            if failure.wait > self.endpoint.patience:
                raise EndpointError(
                    f"{self.endpoint.address()}: asks for a pause of {failure.wait:.0f} s, expected"
                    f" at most {self.endpoint.patience:.0f} s; run again later,"
                    " what was answered is kept"
                )
            # The server speaks of all requests, not of this one.
            self.pace.pause(failure.wait)
            wait = failure.wait
        await asyncio.sleep(wait)

    def _lost(self, failure: Failure) -> None:
        """Stop when the trouble is the endpoint's and not a question's."""
        if isinstance(failure, Rejected) and self.answered:
            return
        self.failed_in_a_row += 1
        if self.failed_in_a_row >= self.endpoint.give_up:
            raise EndpointError(
                f"{self.endpoint.address()}: {self.failed_in_a_row} questions in a row failed, the"
                f" last one by {failure}; see to the server or the settings and run again,"
                " what was answered is kept"
            ) from failure

    def _count(self, what: str, failed: bool) -> None:
        setattr(self, what, getattr(self, what) + 1)
        self.failed += failed
        if self.watch is not None:
            self.watch(self.tally())


def _renamed(outcome: Outcome[Answer], name: str) -> Outcome[Answer]:
    return Outcome(name, outcome.key, outcome.answer, outcome.reason, outcome.detail)
