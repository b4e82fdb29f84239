//! The value layer: put under a key, get, listen, remove.

use rustix::process::Signal;

use crate::place::{Net, Place};

#[test]
fn many_values_lie_under_one_key() {
    let net = Net::of(4);
    for value in ["one", "two", "three words here"] {
        net.run(&["put", value, "--at", "topic", "--ttl", "300"])
            .text();
    }
    let mut all: Vec<String> = net
        .run(&["get", "topic", "--all"])
        .text()
        .lines()
        .map(str::to_owned)
        .collect();
    all.sort();
    assert_eq!(all, ["one", "three words here", "two"]);
    let json = net.run(&["get", "topic", "--json"]).json();
    assert_eq!((json.len(), &json[0]["kind"]), (1, &"value".into()));
    assert!(json[0]["ttl"].as_u64().unwrap() <= 300);
}

#[test]
fn a_listener_hears_what_comes_and_what_goes() {
    let net = Net::of(4);
    let listener = net.start(&["listen", "topic", "--json"]);
    listener.stderr.until("listening under");
    let other = Place::new();
    let put = other.run(&net.words(&["put", "hello all", "--at", "topic", "--sign", "--json"]));
    let put = put.json();
    let id = put[0]["id"].as_str().unwrap();
    let new = listener.stdout.next_json();
    assert_eq!(
        (&new["event"], &new["value"]),
        (&"new".into(), &"hello all".into())
    );
    assert_eq!(new["id"], id);
    assert!(new["owner"].is_string());
    other.run(&net.words(&["remove", "topic", id])).text();
    let gone = listener.stdout.next_json();
    assert_eq!((&gone["event"], &gone["id"]), (&"gone".into(), &id.into()));
    assert_eq!(listener.end(Signal::INT), Some(130));
    net.run(&["get", "topic"]).failed(3);
}

#[test]
fn an_encrypted_value_is_for_one_device_only() {
    let net = Net::of(3);
    let (reader, writer) = (Place::new(), Place::new());
    let device = dhtnet_identity::DeviceKey::from_seed(&[9; 32]);
    dhtnet_identity::key_file::create(reader.path("home/identity.pem"), &device).unwrap();
    let id = device.id().to_string();
    let words = net.words(&["put", "for you", "--at", "box", "--encrypt-to", &id]);
    writer.run(&words).text();
    assert_eq!(reader.run(&net.words(&["get", "box"])).text(), "for you\n");
    let json = net.run(&["get", "box", "--json"]).json();
    assert_eq!(
        (&json[0]["value"], &json[0]["encrypted"]),
        (&serde_json::Value::Null, &true.into())
    );
}

#[test]
fn a_long_value_is_put_together_again() {
    let net = Net::of(5);
    let value = "0123456789abcdef".repeat(1_000);
    net.run_with(&["put", "-", "--at", "long"], value.as_bytes())
        .text();
    assert_eq!(net.run(&["get", "long"]).text(), format!("{value}\n"));
}

#[test]
fn a_reader_that_had_enough_ends_the_listener_without_a_word() {
    let net = Net::of(3);
    net.run(&["put", "x", "--at", "topic"]).text();
    let mut command = net.user.command(&net.words(&["-q", "listen", "topic"]));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = command.stdout(writer).spawn().unwrap();
    drop(command);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(said, "");
}
