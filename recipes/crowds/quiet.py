"""Hundreds of short trainings: what each would say is no news."""

import logging

import datasets
import transformers


def keep_quiet() -> None:
    """Show neither progress bars nor notices of the libraries, of this process."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("trl_dprm").setLevel(logging.ERROR)  # that a head is new, for one
    datasets.disable_progress_bars()
