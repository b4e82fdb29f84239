//! How long packets may be.

use crate::doctor::facts::{Facts, FamilyFacts, MtuReport};
use crate::doctor::finding::{Finding, Topic};
use crate::doctor::path_mtu::{NEEDED_V4, NEEDED_V6};

pub(super) fn mtu(facts: &Facts) -> Finding {
    let topic = Topic::Mtu;
    let tried = |family: &&FamilyFacts| !family.mtu.tried.is_empty();
    let Some(family) = [&facts.v4, &facts.v6].into_iter().find(tried) else {
        return Finding::unknown(topic, "no node answered that could be asked", "see dht");
    };
    let needed = match family.bound {
        Some(bound) if bound.is_ipv6() => NEEDED_V6,
        _ => NEEDED_V4,
    };
    let found = &family.mtu;
    let passed = found
        .tried
        .iter()
        .filter(|(_, ok)| *ok)
        .map(|(length, _)| *length);
    let longest = passed.max();
    let failed = found
        .tried
        .iter()
        .filter(|(_, ok)| !*ok)
        .map(|(length, _)| *length);
    let reported = match found.reported {
        Some(MtuReport::Router { by, mtu }) => Some(format!("{by} reports a link of {mtu} bytes")),
        Some(MtuReport::OwnInterface) => Some("the own interface takes no more".to_owned()),
        None => None,
    };
    let finding = match (longest, failed.min(), reported) {
        (None, _, reported) => Finding::broken(
            topic,
            format!(
                "packets of {needed} bytes do not get through{}",
                reported.map_or(String::new(), |report| format!("; {report}"))
            ),
            format!(
                "a link of at least {needed} bytes is needed: raise the MTU of the tunnel or interface"
            ),
        ),
        (Some(longest), None, _) => {
            Finding::ok(topic, format!("packets of {longest} bytes get through"))
        }
        (Some(longest), Some(_), Some(report)) => Finding::ok(
            topic,
            format!("packets of {longest} bytes get through; {report}"),
        ),
        (Some(longest), Some(failed), None) => Finding::weak(
            topic,
            format!(
                "a black hole: packets of {longest} bytes get through, of {failed} vanish, and no router says so"
            ),
            format!(
                "connections by key adapt, other programs hang: let ICMP \"fragmentation needed\" \
                 through, or set the MTU of the interface to {longest}"
            ),
        ),
    };
    match longest {
        Some(longest) => finding.with("bytes", u64::from(longest)),
        None => finding,
    }
}
