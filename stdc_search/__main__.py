"""`python -m stdc_search` is `stdc-search`."""

from stdc_search.cli import main

main()
