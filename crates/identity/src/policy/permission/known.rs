//! The actions of the tools, and what their parameters are.

/// An action of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownAction {
    /// Its name.
    pub name: &'static str,
    /// What its parameter is.
    pub parameter: Expected,
    /// What it lets a peer do, in a few words.
    pub meaning: &'static str,
}

/// What the parameter of an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// There is none.
    Nothing,
    /// A target, and in rules a pattern of targets.
    Target,
    /// A network in CIDR notation.
    Network,
    /// A command line.
    Command,
    /// The name of a user.
    User,
    /// A name, which may be left out.
    Name,
}

/// The actions of the tools. Names that begin like these (`dnc.`, `dsh.`, `dvpn.`) and are not
/// here are typing errors; all other names are channels of applications.
pub const KNOWN_ACTIONS: &[KnownAction] = &[
    known(
        "dnc.pipe",
        Expected::Nothing,
        "the standard streams of dnc -l",
    ),
    known("dnc.target", Expected::Target, "connections to a target"),
    known(
        "dnc.bind",
        Expected::Target,
        "listening at an address for it",
    ),
    known("dsh.shell", Expected::Nothing, "an interactive shell"),
    known("dsh.command", Expected::Command, "running a command"),
    known("dsh.user", Expected::User, "doing so as this user"),
    known(
        "dsh.forward",
        Expected::Target,
        "forwards through the shell's connection",
    ),
    known("dsh.cp", Expected::Nothing, "copying files there and back"),
    known(
        "dvpn.join",
        Expected::Name,
        "taking part in a virtual network",
    ),
    known(
        "dvpn.route",
        Expected::Network,
        "announcing a route to a network",
    ),
    known(
        "dvpn.exit",
        Expected::Nothing,
        "the way out to the internet",
    ),
];

/// The beginnings that belong to the tools.
const RESERVED: [&str; 3] = ["dnc.", "dsh.", "dvpn."];

const fn known(name: &'static str, parameter: Expected, meaning: &'static str) -> KnownAction {
    KnownAction {
        name,
        parameter,
        meaning,
    }
}

pub(super) fn find(name: &str) -> Option<&'static KnownAction> {
    KNOWN_ACTIONS.iter().find(|known| known.name == name)
}

/// Whether the name belongs to a tool, known or not.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|beginning| name.starts_with(beginning))
}

pub(super) fn needs_parameter(name: &str) -> bool {
    let optional = [Expected::Nothing, Expected::Name];
    find(name).is_some_and(|known| !optional.contains(&known.parameter))
}
