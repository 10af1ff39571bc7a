"""Make `python -m unmask` the same as the console command `unmask`."""

from unmask.cli import main

if __name__ == "__main__":
    main()
