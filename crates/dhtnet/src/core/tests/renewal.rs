//! A peer whose program was started again, told from a second program that was there before.

use super::*;

/// Whether a program of this age counts as the one that took the place of a silent one. It is
/// dialled three seconds after that fell silent.
fn is_in_its_place(age: Option<Duration>) -> bool {
    let mut net = Net::fast();
    let (old, _) = net.connect();
    net.two = Host::new(2, LinkConfig::default());
    net.two.address = SocketAddr::from(([198, 51, 100, 2], 4_433));
    net.run(Duration::from_secs(3));
    net.two.core.set_hello(Hello {
        instance: [9; 16],
        wants: false,
        shows: false,
    });
    if let Some(age) = age {
        net.two.core.set_began(net.clock.now() - age);
    }
    let (new, _) = net.connect();
    assert!(!net.one.core.have_common_host(old, new));
    net.one.core.began_after(old, new)
}

#[test]
fn a_program_that_began_after_the_old_one_was_heard_is_in_its_place_and_no_other_is() {
    assert!(is_in_its_place(Some(Duration::from_secs(2))));
    assert!(!is_in_its_place(Some(Duration::from_secs(6))));
    assert!(!is_in_its_place(None), "an earlier version does not say");
}
