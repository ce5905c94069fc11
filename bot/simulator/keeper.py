"""The life of the connections: pings, pongs, the 24-hour cut, and the faults that end, silence or fool them."""

from collections.abc import Iterable

from bot.edge.clock import Clock
from bot.simulator.faults import Schedule
from bot.simulator.limits import Limits
from bot.simulator.session import GOING_AWAY, POLICY, TEXT, Session

PONG_WALL_MIN_S = 0.5  # a process may stall that long; in accelerated time 60 s would be less
CUTTING = ("F5", "F13", "F25")


class Keeper:
    def __init__(self, clock: Clock, schedule: Schedule, limits: Limits) -> None:
        self._clock = clock
        self._schedule = schedule
        self._limits = limits

    def tick(self, sessions: Iterable[Session], now_ms: int) -> None:
        now_s, wall_s = self._clock.seconds(), self._clock.monotonic()
        cut = any(self._schedule.now(number, now_ms) for number in CUTTING)
        for session in sessions:
            if session.closing:
                continue
            if cut:
                session.cut()
                continue
            self._suffer(session, now_ms)
            if not session.mute:
                self._keep_alive(session, now_ms, now_s, wall_s)

    def silent(self, session: Session, sessions: Iterable[Session], now_ms: int) -> bool:
        """Whether this connection gets no data (F1, F24)."""
        fault = self._schedule.now("F1", now_ms)
        if fault and session.opened_ms < fault.start_ms:
            return True
        return bool(self._schedule.now("F24", now_ms)) and session is next(iter(sessions), None)

    def _suffer(self, session: Session, now_ms: int) -> None:
        """F2, F3 and F4: whoever was connected when they began."""
        for fault in self._schedule.all("F2", "F3", "F4"):
            if now_ms < fault.start_ms or session.opened_ms >= fault.start_ms:
                continue
            if fault.number == "F2" and fault.covers(now_ms):
                session.mute = True
            elif fault.number == "F3":
                session.close(GOING_AWAY, "")
            elif fault.number == "F4" and not session.shutdown_sent:
                session.shutdown_sent = True
                event = f'{{"e":"serverShutdown","E":{now_ms}}}'
                text = f'{{"stream":"!serverShutdown","data":{event}}}' if session.combined else event
                session.write(TEXT, text.encode())
            elif fault.number == "F4" and now_ms >= fault.end_ms:
                session.close(GOING_AWAY, "")

    def _keep_alive(self, session: Session, now_ms: int, now_s: float, wall_s: float) -> None:
        if now_s - session.opened_s >= self._limits.lifetime_s:
            session.close(GOING_AWAY, "")
            return
        if session.unanswered:
            _, sent_s, sent_wall_s = session.unanswered[0]
            if now_s - sent_s > self._limits.pong_within_s and wall_s - sent_wall_s > PONG_WALL_MIN_S:
                session.close(POLICY, "Pong timeout")
                return
        if now_s - session.pinged_s >= self._limits.ping_every_s:
            session.ping(now_ms, now_s, wall_s)
