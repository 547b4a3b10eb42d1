"""What may still be spent. Which questions are asked under a cap never depends on timing."""

from __future__ import annotations

import asyncio

from quality.endpoint.settings import Cost


class Budget:
    """Tokens and money spent, and what questions under way may still cost.

    A question is admitted if, after everything before it is answered, its dearest outcome would
    fit. That is known early where the dearest outcomes of all that is under way fit as well;
    otherwise ``admit`` waits for them. So the same questions are admitted at any concurrency.
    """

    def __init__(self, cost: Cost, prompt: int = 0, answer: int = 0) -> None:
        self.cost = cost
        self.prompt = prompt
        self.answer = answer
        self._held_prompt = self._held_answer = 0
        self._changed = asyncio.Event()

    @property
    def money(self) -> float:
        """Spent so far."""
        return self.cost.of(self.prompt, self.answer)

    async def admit(self, prompt: int, answer: int) -> bool:
        """Reserve tokens for a question; False if they do not fit. Called in question order."""
        while not self._fits(prompt, answer):
            if not (self._held_prompt or self._held_answer):
                return False
            self._changed.clear()
            await self._changed.wait()
        self._held_prompt += prompt
        self._held_answer += answer
        return True

    def spend(self, prompt: int, answer: int) -> None:
        """Count what an answer cost."""
        self.prompt += prompt
        self.answer += answer

    def release(self, prompt: int, answer: int) -> None:
        """Give a reservation back: its question is done, its answers are counted."""
        self._held_prompt -= prompt
        self._held_answer -= answer
        self._changed.set()

    def _fits(self, prompt: int, answer: int) -> bool:
        prompts = self.prompt + self._held_prompt + prompt
        answers = self.answer + self._held_answer + answer
        cap = self.cost
        return (cap.tokens is None or prompts + answers <= cap.tokens) and (
            cap.money is None or cap.of(prompts, answers) <= cap.money
        )
