"""Named errors and the exit code each ends the process with; anything unnamed is our bug and shows its traceback.

78 bad configuration, 77 not permitted, 75 try later, 74 input or output, 1 a run failed.
"""

BAD_CONFIGURATION, INPUT_OUTPUT, OUR_BUG = 78, 74, 70


def exit_code(why: BaseException) -> int | None:
    """The code a known trouble ends with; None for what is not known. Looks into groups of task errors."""
    if isinstance(why, BaseExceptionGroup):
        codes = [exit_code(one) for one in why.exceptions]
        known = [code for code in codes if code is not None]
        return known[0] if len(known) == len(codes) else None
    code = getattr(why, "exit_code", None)
    return code if isinstance(code, int) else None
