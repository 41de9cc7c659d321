"""`python -m streams`: the same as `seawall`."""

from streams.cli import main

if __name__ == "__main__":
    main()
