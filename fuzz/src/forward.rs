//! What is asked for with `-L`, `-R` and `-D`. The modules are taken from the tools as they are: they need
//! nothing else of them.

#[path = "../../tools/forward/src/asked.rs"]
mod asked;
#[path = "../../tools/forward/src/forward_spec.rs"]
mod forward_spec;

use asked::Carries;
use dhtnet_identity::target::Target;
use forward_spec::{Bind, Forward, parse_listen_address};

use crate::with_text;

/// The metadata of a request, and the same text as the argument of a flag. What is understood comes
/// back the same from its text form, and a target is never reached by a channel of another kind.
pub(crate) fn request(input: &[u8]) {
    for carries in [Carries::Stream, Carries::Datagrams] {
        if let Ok(target) = asked::target(input, carries) {
            let is_udp = matches!(target, Target::Udp { .. });
            assert_eq!(is_udp, carries == Carries::Datagrams, "{target}");
            comes_back(&target);
        }
        if let Ok(place) = asked::place(input, carries) {
            assert_eq!(carries, Carries::Stream);
            comes_back(&place);
            if let Some(bind) = Bind::of_target(&place) {
                assert_eq!(bind.to_string(), place.to_string());
                assert_eq!(bind.with_port(bind.port().unwrap_or(0)), bind);
            }
        }
    }
    with_text(input, |text| {
        let _ = parse_listen_address(text);
        if let Ok(forward) = text.parse::<Forward>() {
            assert_eq!(
                forward.to_string().parse(),
                Ok(forward.clone()),
                "{forward}"
            );
            let is_udp = |target: &Target| matches!(target, Target::Udp { .. });
            assert_eq!(
                is_udp(&forward.target),
                matches!(forward.bind, Bind::Udp(_))
            );
            if let Ok(datagrams) = forward.over_udp() {
                assert!(is_udp(&datagrams.target));
            }
        }
    });
}

fn comes_back(target: &Target) {
    assert_eq!(target.to_string().parse().as_ref(), Ok(target));
}
