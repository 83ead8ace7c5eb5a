"""The naive model, and the state machine that drives it beside the real stores."""
