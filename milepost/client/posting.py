"""What becomes of a batch: judged by the collector, in parts if need be, or to be sent again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from .transport import Answer

PATIENCE = 5
"""Answers of 500 to batches with the same head, after which one event may be the reason."""
_MOST_SUSPECTS = 10
"""Events that fail alone, one after the other, before anything is taken: then it is the collector that fails."""
_GIVEN_UP = "the collector fails for this event (500), and takes others"

Refused = Sequence[tuple[str, str]]


class Posting:
    """`post` sends a batch once. `taken` is told how many events were judged and which of them were refused, `later`
    why nothing can be sent now."""

    def __init__(
        self,
        post: Callable[[Sequence[bytes]], Answer],
        taken: Callable[[int, Refused], None],
        later: Callable[[Answer], None],
    ) -> None:
        self._send = post
        self._told = taken
        self._later = later
        self._head = b""
        self._failures = 0
        self._others = False  # whether any were taken since the head failed first
        self._sifting = False
        self._judged = 0
        self._suspects: list[bytes] = []

    def post(self, events: Sequence[bytes]) -> Sequence[bytes]:
        """Send them. Answers the rest that the collector has not judged: the last ones, or all."""
        if self._sifting and not self._judged and len(self._suspects) >= _MOST_SUSPECTS:
            return events
        answer = self._send(events)
        if answer.meaning == "taken":
            self._taken(len(events), answer.refused)
            return ()
        if answer.meaning == "too_large":
            if len(events) > 1:
                return self._halved(events)
            self._taken(1, [("", answer.detail)])
            return ()
        if answer.meaning == "broken" and (self._sifting or self._stuck(events[0])):
            return self._one_fails(events, answer)
        self._later(answer)
        return events

    def _taken(self, number: int, refused: Refused) -> None:
        self._judged += number
        self._others = True
        self._told(number, refused)

    def _halved(self, events: Sequence[bytes]) -> Sequence[bytes]:
        half = len(events) // 2
        left = self.post(events[:half])
        return [*left, *events[half:]] if left else self.post(events[half:])

    def _stuck(self, head: bytes) -> bool:
        if head != self._head:
            self._head, self._failures, self._others = head, 0, False
        self._failures += 1
        return self._failures >= PATIENCE

    def _one_fails(self, events: Sequence[bytes], answer: Answer) -> Sequence[bytes]:
        if not self._sifting:
            return self._sifted(events, answer)
        if len(events) > 1:
            return self._halved(events)
        self._suspects += events
        return ()

    def _sifted(self, events: Sequence[bytes], answer: Answer) -> Sequence[bytes]:
        """Find those that fail alone. They are given up only where the collector takes others."""
        alone = len(events) == 1
        self._sifting, self._judged, self._suspects = True, 0, list(events) if alone else []
        try:
            left = () if alone else self._halved(events)
        finally:
            self._sifting = False
        if not (self._others if alone else self._judged):
            self._later(answer)
            return events
        for event in self._suspects:
            self._told(1, [(str(json.loads(event).get("id")), _GIVEN_UP)])
        return left
