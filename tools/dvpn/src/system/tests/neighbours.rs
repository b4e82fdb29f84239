//! Two networks on one machine.

use super::*;
use crate::system::resolver::present_servers;

/// The interface of the other network.
const SECOND: &str = "dvpn1";

/// Runs `work` where there are two interfaces.
fn beside(test: &str, work: impl FnOnce(&Home)) {
    inside(&format!("neighbours::{test}"), |home| {
        renew_interface_called(NAME);
        renew_interface_called(SECOND);
        work(home);
    });
}

fn plan_of(interface: &str, own: &str) -> Plan {
    Plan {
        addresses: vec![(own.parse().unwrap(), 24)],
        mark: Some(NODE_MARK),
        ..Plan::of_interface(interface)
    }
}

fn apply(home: &Home, plan: &Plan) -> Result<Applied, SystemError> {
    let claimed = Instance::claim(home, &plan.interface, Path::new("/run/x.sock")).unwrap();
    claimed.instance.apply(plan)
}

#[test]
fn of_two_that_forward_the_last_one_puts_back_what_was_before() {
    let name = "of_two_that_forward_the_last_one_puts_back_what_was_before";
    beside(name, |home| {
        let before = state();
        let mut plans = [plan_of(NAME, "10.80.77.1"), plan_of(SECOND, "10.80.78.1")];
        for plan in &mut plans {
            plan.forwarding.exit = true;
        }
        for (first_to_end, is_killed) in [(0, false), (1, false), (0, true), (1, true)] {
            let mut both: Vec<Applied> = plans
                .iter()
                .map(|plan| apply(home, plan).unwrap())
                .collect();
            let during = state();
            // Neither stands in the way of the other.
            let guard = "oifgroup != 1684567665 drop";
            assert_eq!(during.matches(guard).count(), 4, "{during}");

            let mut ending = both.remove(first_to_end);
            let name = ending.name().to_owned();
            if is_killed {
                ending.is_undone = true;
                drop(ending);
                assert_eq!(down(home, &name).unwrap(), Down::CleanedUp);
            } else {
                ending.undo().unwrap();
            }
            let during = state();
            for knob in ["net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"] {
                assert!(during.contains(knob), "{name} took {knob} along");
            }
            assert!(!during.contains(&format!("table inet dhtnet_{name}")));
            both.remove(0).undo().unwrap();
            renew_interface_called(NAME);
            renew_interface_called(SECOND);
            assert_as_before(&before, &format!("{name} ended first"));
        }
    });
}

#[test]
fn one_that_needs_the_switch_no_more_leaves_it_to_the_other() {
    let name = "one_that_needs_the_switch_no_more_leaves_it_to_the_other";
    beside(name, |home| {
        let before = state();
        let plain = plan_of(NAME, "10.80.77.1");
        let mut exit = plain.clone();
        exit.forwarding.exit = true;
        let mut other = plan_of(SECOND, "10.80.78.1");
        other.forwarding.exit = true;
        let mut first = apply(home, &exit).unwrap();
        let mut second = apply(home, &other).unwrap();
        first.change(&plain).unwrap();
        assert!(state().contains("net/ipv4/ip_forward=1"));
        drop(first);
        assert!(state().contains("net/ipv4/ip_forward=1"));
        second.undo().unwrap();
        renew_interface_called(NAME);
        renew_interface_called(SECOND);
        assert_as_before(&before, "after both");
    });
}

#[test]
fn what_only_one_can_have_the_other_is_refused_and_told_who_has_it() {
    let name = "what_only_one_can_have_the_other_is_refused_and_told_who_has_it";
    beside(name, |home| {
        let before = state();
        let mut first = apply(home, &everything()).unwrap();
        // The kernel notices in its own time that nobody is at the other end of the interface.
        let calm = || state().replace(" linkdown", "");
        let with_first = calm();
        let mut plan = plan_of(SECOND, "10.80.78.2");
        plan.routes = networks(&["0.0.0.0/0"]);
        let refused = apply(home, &plan).unwrap_err();
        assert!(
            matches!(&refused, SystemError::SecondFullTunnel { name: Some(name) } if name == NAME),
            "{refused}"
        );
        let after = calm();
        assert!(after == with_first, "{}", difference(&with_first, &after));

        plan.routes = networks(&["10.20.0.0/16"]);
        plan.dns = everything().dns;
        let mut second = apply(home, &plan).unwrap();
        let [warning] = second.warnings() else {
            panic!("one warning: {:?}", second.warnings());
        };
        assert!(
            warning.contains("dvpn0 has rewritten /etc/resolv.conf"),
            "{warning}"
        );
        let servers = everything().dns.unwrap().servers;
        assert_eq!(present_servers(), servers);
        first.undo().unwrap();
        assert!(state().contains("10.20.0.0/16 dev dvpn1"));
        second.undo().unwrap();
        renew_interface_called(NAME);
        renew_interface_called(SECOND);
        assert_as_before(&before, "after both");
    });
}
