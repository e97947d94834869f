"""Whether a state that was saved is one of an optimizer's own, arrays aside."""

from typing import Any

NEEDED = ("kind", "lr", "steps", "param_groups", "arrays")


def check_fits(kind: str, state: dict[str, Any], own: list[dict[str, Any]]) -> None:
    """ValueError for a `state_dict` of another optimizer than this kind, or with other groups than its own."""
    if state.get("kind") != kind or set(state) != set(NEEDED):
        raise ValueError(
            f"state of kind {state.get('kind')!r} with keys {', '.join(state)} does not fit {kind}, which "
            f"needs {', '.join(NEEDED)}: load what {kind}.state_dict() returned"
        )
    if [_outline(group) for group in state["param_groups"]] != [_outline(group) for group in own]:
        saved, present = ([len(group["params"]) for group in each] for each in (state["param_groups"], own))
        raise ValueError(
            f"state does not fit {kind}: groups of {saved} parameters, this optimizer has {present}: "
            "build it with the same parameters, groups and version as when the state was saved"
        )
    parameters = sum(len(group["params"]) for group in own)
    if len(state["steps"]) != parameters:
        raise ValueError(
            f"state does not fit {kind}: steps of {len(state['steps'])} parameters, this optimizer has "
            f"{parameters}: load what {kind}.state_dict() returned"
        )


def _outline(group):
    """What must agree between two groups: the parameters' indices and the names of the options."""
    return list(group["params"]), sorted(group)
