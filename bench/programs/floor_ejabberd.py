"""The floor, asked by ejabberd: what a program outside of it costs at least."""

from bench.programs import floor, frame

if __name__ == "__main__":
    floor.main(frame.serve_ejabberd)
