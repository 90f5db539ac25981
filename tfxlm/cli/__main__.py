"""`python -m tfxlm.cli`."""

from tfxlm.cli import main

if __name__ == "__main__":
    main()
