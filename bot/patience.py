"""Waiting times a busy machine can keep when an exchange second is a few wall milliseconds."""

from typing import Any

from pydantic import BaseModel

from bot.config import Settings

STRETCH_FROM_SPEED = 10.0


def patient(settings: Settings, speed: float) -> Settings:
    """The settings with limits stretched to what `speed` times real time leaves; unchanged at low speed."""
    if speed <= STRETCH_FROM_SPEED:
        return settings
    slow = {
        "silence_s": 1.5 * speed,
        "ping_every_s": speed,
        "pong_within_s": 2 * speed,
        "resync_every_s": 60 * speed,
    }
    updates: dict[str, Any] = {
        "market": _raised(settings.market, {"soft_limit_ms": 30_000, "hard_limit_ms": 50_000}),
        "risk": _raised(settings.risk, {"stale_after_ms": 58_000, "forecast_age_max_ms": 58_000}),
        "forecaster": _raised(settings.forecaster, {"budget_s": 58.0}),
        "feed": _raised(settings.feed, slow),
    }
    return settings.model_copy(update=updates)


def _raised(section: BaseModel, least: dict[str, float]) -> BaseModel:
    """The section with each of these at least so high."""
    return section.model_copy(update={key: max(getattr(section, key), value) for key, value in least.items()})
