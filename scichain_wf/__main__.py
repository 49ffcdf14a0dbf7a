"""`python -m scichain_wf`: the same as `scichain-wf`."""

from scichain_wf.cli import main

if __name__ == "__main__":
    main()
