"""Make `python -m unmask` the same as the console command `unmask`."""

from unmask.cli import run

if __name__ == "__main__":
    run()
