"""Entry point of the `tfc` command."""

from tfc_jax import signals


def main() -> None:
    """Handles signals before anything slow is imported."""
    signals.handle(signals.end_now)
    from tfc_jax.cli import main as run

    run()


if __name__ == "__main__":
    main()
