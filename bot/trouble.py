"""Named errors and the exit code each ends the process with; anything unnamed is our bug and shows its traceback.

78 bad configuration, 77 not permitted, 75 try later, 74 input or output, 70 our bug, 1 a check or a run failed.
"""

OUR_BUG = 70


def exit_code(why: BaseException) -> int | None:
    """The code a known trouble ends with; None for what is not known. Looks into groups of task errors."""
    if isinstance(why, BaseExceptionGroup):
        codes = [exit_code(one) for one in why.exceptions]
        known = [code for code in codes if code is not None]
        return known[0] if len(known) == len(codes) else None
    code = getattr(why, "exit_code", None)
    return code if isinstance(code, int) else None


def sentences(why: BaseException) -> list[str]:
    """What happened, for people, one line each."""
    if isinstance(why, BaseExceptionGroup):
        return [line for one in why.exceptions for line in sentences(one)]
    return str(why).splitlines() or [type(why).__name__]
