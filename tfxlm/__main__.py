"""`python -m tfxlm`, the same as `tfxlm`."""

from tfxlm.cli import main

if __name__ == "__main__":
    main()
