"""`python -m trl_dprm.cli`: the console command without its script."""

from . import main

main()
