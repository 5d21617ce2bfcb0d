//! Tests of `connection/control_signal.rs`.

use super::*;

#[test]
fn a_stronger_signal_overrides_a_weaker_one() {
    let control = Control::default();
    assert_eq!(control.current(), ControlSignal::Continue);
    control.send(ControlSignal::DrainDeadline);
    control.send(ControlSignal::Drain);
    assert_eq!(control.current(), ControlSignal::DrainDeadline);
    control.send(ControlSignal::Kill);
    assert_eq!(control.current(), ControlSignal::Kill);
}
