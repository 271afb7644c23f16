"""Python's garbage collector, kept from what is there to stay."""

import gc


def spare_what_stays() -> None:
    """Tell it that all that is loaded now stays, until `gc.unfreeze`: a collection that looked through it would stop a
    process for a third of a second, as measured behind PyTorch's compiler, and for a tenth where it is only imported.
    """
    gc.collect()
    gc.freeze()
