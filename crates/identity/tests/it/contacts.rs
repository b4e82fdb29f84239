//! The contact book: its file, its names, and suggestions.

use std::fs;

use dhtnet_identity::contacts::{
    AddContactError, ContactsError, ContactsFault, MAX_CONTACTS, MAX_CONTACTS_FILE_LEN,
    RenameContactError,
};
use dhtnet_identity::{Alias, Contacts, PeerAddress, PeerArgument};
use proptest::prelude::*;

use crate::{cases, chain, id};

const FILE: &str = include_str!("../vectors/contacts.toml");

fn alias(name: &str) -> Alias {
    name.parse().unwrap()
}

fn book() -> Contacts {
    let mut contacts = Contacts::default();
    let hinted = format!("{}@192.0.2.7:4433,[2001:db8::7]:4433", id(8));
    contacts
        .add(alias("server"), hinted.parse().unwrap())
        .unwrap();
    contacts.add(alias("laptop"), id(7).into()).unwrap();
    contacts
}

#[test]
fn the_file_is_that_of_the_vector_sorted_by_name() {
    assert_eq!(book().to_toml(), FILE);
    assert_eq!(Contacts::from_toml(FILE), Ok(book()));
}

#[test]
fn a_saved_book_is_private_and_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("home/contacts.toml");
    assert_eq!(Contacts::load(&path).unwrap(), Contacts::default());
    book().save(&path).unwrap();
    assert_eq!(Contacts::load(&path).unwrap(), book());
    assert_eq!(fs::read_to_string(&path).unwrap(), FILE);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(path.clone()), 0o600);
        assert_eq!(mode(dir.path().join("home")), 0o700);
    }
    Contacts::default().save(&path).unwrap();
    assert!(Contacts::load(&path).unwrap().is_empty());
}

#[test]
fn names_are_added_once_renamed_and_removed() {
    let mut contacts = book();
    let taken = AddContactError::Taken {
        name: alias("laptop"),
        id: id(7),
    };
    assert_eq!(contacts.add(alias("laptop"), id(9).into()), Err(taken));
    assert_eq!(contacts, book());

    let taken = RenameContactError::Taken {
        name: alias("server"),
        id: id(8),
    };
    assert_eq!(
        contacts.rename(&alias("laptop"), alias("server")),
        Err(taken)
    );
    let unknown = contacts.rename(&alias("desktop"), alias("x")).unwrap_err();
    assert!(matches!(unknown, RenameContactError::Unknown(_)));
    assert_eq!(contacts, book());
    contacts.rename(&alias("laptop"), alias("laptop")).unwrap();
    assert_eq!(contacts, book());

    contacts.rename(&alias("laptop"), alias("zebra")).unwrap();
    let names: Vec<_> = contacts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["server", "zebra"]);
    assert_eq!(
        contacts.remove(&alias("zebra")),
        Ok(PeerAddress::from(id(7)))
    );
    assert!(contacts.remove(&alias("zebra")).is_err());
    assert_eq!(contacts.len(), 1);
}

#[test]
fn arguments_are_resolved_and_ids_get_their_names() {
    let mut contacts = book();
    let resolve = |text: &str| book().resolve(&text.parse::<PeerArgument>().unwrap());
    assert_eq!(resolve("laptop").unwrap().id, id(7));
    assert_eq!(resolve("server").unwrap().hints.len(), 2);
    assert_eq!(resolve(&id(9).to_string()), Ok(id(9).into()));
    assert_eq!(contacts.alias_of(&id(7)), Some(&alias("laptop")));
    assert_eq!(contacts.alias_of(&id(9)), None);
    contacts.add(alias("a-second-name"), id(7).into()).unwrap();
    assert_eq!(contacts.alias_of(&id(7)), Some(&alias("a-second-name")));
}

#[test]
fn a_mistyped_name_gets_the_closest_as_suggestion() {
    let mut contacts = book();
    for name in ["a", "laptop2", "office-server"] {
        contacts.add(alias(name), id(9).into()).unwrap();
    }
    for (typed, wanted) in [
        ("latpop", Some("laptop")),
        ("lapto", Some("laptop")),
        ("laptop3", Some("laptop")),
        ("servre", Some("server")),
        ("office-sevrer", Some("office-server")),
        ("b", None),
        ("telephone", None),
    ] {
        let unknown = contacts
            .resolve(&PeerArgument::Alias(alias(typed)))
            .unwrap_err();
        assert_eq!(unknown.name.as_str(), typed);
        assert_eq!(unknown.suggestion, wanted.map(alias), "{typed}");
    }
    let unknown = contacts.remove(&alias("latpop")).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "no contact is called latpop (did you mean laptop?)"
    );
    let unknown = contacts.remove(&alias("telephone")).unwrap_err();
    assert_eq!(unknown.to_string(), "no contact is called telephone");
}

#[test]
fn a_fault_is_named_with_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("contacts.toml");
    fs::write(&path, FILE.replace("hints", "hnits")).unwrap();
    let text = chain(&Contacts::load(&path).unwrap_err());
    let wanted = format!(
        "{path:?} is not a contact book: line 10: \
         unknown key \"hnits\" (known here: name, id, hints)"
    );
    assert_eq!(text, wanted);
}

#[test]
fn each_fault_has_its_line() {
    let id = id(7);
    let entry = |rest: &str| format!("# a comment\n\n[[peer]]\nname = \"a\"\n{rest}");
    let good = format!("id = \"{id}\"");
    let rows: [(String, usize, &str); 16] = [
        ("x = 1".into(), 1, "unknown key \"x\" (known here: peer)"),
        (
            "\n[peers]\n".into(),
            2,
            "unknown key \"peers\" (known here: peer)",
        ),
        ("peer = 1".into(), 1, "\"peer\" must be a list ([[peer]])"),
        (
            "\npeer = [1]".into(),
            2,
            "\"peer\" must be a table ([[peer]])",
        ),
        (entry(""), 3, "the key \"id\" is missing"),
        (
            format!("[[peer]]\n{good}"),
            1,
            "the key \"name\" is missing",
        ),
        (entry("id = 7"), 5, "\"id\" must be a text"),
        (
            entry("id = \"7\""),
            5,
            "bad \"id\": a device id has 56 characters, not 1",
        ),
        (
            entry(&format!("{good}\nhints = \"1.2.3.4:5\"")),
            6,
            "\"hints\" must be a list of texts",
        ),
        (
            entry(&format!("{good}\nhints = [\n\"1.2.3.4:5\",\n 7 ]")),
            8,
            "\"hints\" must be a list of texts",
        ),
        (
            entry(&format!("{good}\nhints = [\"1.2.3.4:0\"]")),
            6,
            "bad \"hints\": 1.2.3.4:0 cannot be the address of a peer",
        ),
        (
            entry(&format!("{good}\nhint = []")),
            6,
            "unknown key \"hint\" (known here: name, id, hints)",
        ),
        (
            entry(&format!("{good}\n[[peer]]\n{good}\nname = \"a\"")),
            8,
            "the name a is there twice",
        ),
        (
            "[[peer]]\nname = \"A\"".into(),
            2,
            "bad \"name\": a contact name has no character 'A' at position 1 \
             (a-z, 0-9, and after the first also . _ -)",
        ),
        (entry("id = \"x"), 5, "invalid basic string, expected `\"`"),
        (entry(&format!("{good}\n{good}")), 6, "duplicate key"),
    ];
    for (text, line, wanted) in rows {
        let error = Contacts::from_toml(&text).unwrap_err();
        assert_eq!(chain(&error), format!("line {line}: {wanted}"), "{text}");
    }
}

#[test]
fn a_file_cut_at_any_length_never_gives_a_wrong_contact() {
    for len in 0..FILE.len() {
        if let Ok(cut) = Contacts::from_toml(&FILE[..len]) {
            for (name, address) in cut.iter() {
                let whole = book().resolve(&PeerArgument::Alias(name.clone())).unwrap();
                assert_eq!(address.id, whole.id, "{len} bytes");
            }
        }
    }
}

#[test]
fn a_book_may_hold_as_many_as_its_bound_and_no_more() {
    let mut contacts = Contacts::default();
    for n in 0..MAX_CONTACTS {
        contacts.add(alias(&format!("n{n}")), id(7).into()).unwrap();
    }
    assert_eq!(
        contacts.add(alias("more"), id(7).into()),
        Err(AddContactError::Full)
    );
    let text = contacts.to_toml();
    assert_eq!(Contacts::from_toml(&text).unwrap().len(), MAX_CONTACTS);
    let more = format!("{text}\n[[peer]]\nname = \"more\"\nid = \"{}\"\n", id(7));
    assert_eq!(
        Contacts::from_toml(&more).unwrap_err().fault,
        ContactsFault::TooMany
    );
}

#[test]
fn a_file_may_be_as_long_as_its_bound_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("contacts.toml");
    let mut text = FILE.as_bytes().to_vec();
    text.resize(MAX_CONTACTS_FILE_LEN, b'\n');
    fs::write(&path, &text).unwrap();
    assert_eq!(Contacts::load(&path).unwrap(), book());
    text.push(b'\n');
    fs::write(&path, &text).unwrap();
    let error = Contacts::load(&path).unwrap_err();
    assert!(matches!(error, ContactsError::TooLarge { .. }), "{error}");

    // What could not be read again is not written either.
    let mut contacts = Contacts::default();
    let hints: Vec<_> = (1..=16)
        .map(|n| format!("[2001:db8:1111:2222::1]:{}", 10_000 + n))
        .collect();
    let address: PeerAddress = format!("{}@{}", id(7), hints.join(",")).parse().unwrap();
    for n in 0..MAX_CONTACTS {
        contacts
            .add(alias(&format!("n{n}")), address.clone())
            .unwrap();
    }
    let error = contacts.save(&path).unwrap_err();
    assert!(matches!(error, ContactsError::TooLarge { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), text, "the old file is untouched");
}

#[test]
fn deep_nesting_is_a_fault_and_no_stack_overflow() {
    for open in ["[", "{a=", "[{a="] {
        let text = format!("peer = {}", open.repeat(100_000));
        assert_eq!(Contacts::from_toml(&text).unwrap_err().line, 1, "{open}");
    }
    let dotted = format!("[{}a]", "a.".repeat(100_000));
    assert_eq!(Contacts::from_toml(&dotted).unwrap_err().line, 1);
}

#[test]
fn bytes_that_are_no_text_and_a_directory_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("contacts.toml");
    fs::write(&path, b"\xff").unwrap();
    let error = Contacts::load(&path).unwrap_err();
    assert!(matches!(error, ContactsError::NotUtf8 { .. }), "{error}");
    let error = Contacts::load(dir.path()).unwrap_err();
    assert!(matches!(error, ContactsError::Read { .. }), "{error}");
    let error = book().save(dir.path()).unwrap_err();
    assert!(matches!(error, ContactsError::Write { .. }), "{error}");
}

/// Texts with the pieces of a book in any order, and any text at all.
const BOOK_LIKE: &str = "\\PC{0,60}|(\\[\\[peer\\]\\]|name|id|=|\"a\"|\n|\\[|\\]|\\.|,){0,20}";

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn books_round_trip(
        names in prop::collection::btree_map("[a-z0-9][a-z0-9._-]{0,20}", 0_u8..8, 0..20),
    ) {
        let mut contacts = Contacts::default();
        for (name, number) in names {
            let hints = (1..=u16::from(number)).map(|n| ([192, 0, 2, number], n).into()).collect();
            contacts.add(alias(&name), PeerAddress { id: id(number), hints }).unwrap();
        }
        prop_assert_eq!(Contacts::from_toml(&contacts.to_toml()), Ok(contacts));
    }

    #[test]
    fn any_text_is_a_book_or_a_named_fault(text in BOOK_LIKE) {
        let lines = 1 + text.matches('\n').count();
        match Contacts::from_toml(&text) {
            Ok(contacts) => prop_assert_eq!(Contacts::from_toml(&contacts.to_toml()), Ok(contacts)),
            Err(error) => prop_assert!((1..=lines).contains(&error.line)),
        }
    }
}
