"""What a data folder says about its bot, read without disturbing it."""

from pathlib import Path
from typing import Any

from bot.edge.store import Store

NOTES, ORDERS, FILLS = 10, 10, 10


def status_of(folder: Path) -> dict[str, Any]:
    """The newest session, the equity, what came last. Raises NoJournal for a folder without one."""
    with Store(folder) as store:
        sessions = store.sessions()
        equity = store.newest("equity", 1)
        newest = sessions[-1] if sessions else None
        return {
            "folder": str(folder),
            "sessions": len(sessions),
            "session": newest.id if newest else None,
            "started_ms": newest.started_ms if newest else None,
            "ended": newest.exit if newest else None,
            "coins": len(newest.symbols) if newest else 0,
            "equity": equity[0] if equity else None,
            "orders": store.newest("orders", ORDERS),
            "fills": store.newest("fills", FILLS),
            "notes": store.newest("notes", NOTES),
        }
