//! Keys of items: `genkey`, `sign`, and reading key files, those of older programs included.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use dhtnet_cli::failure::chain;
use dhtnet_cli::own_identity::new_key;
use dhtnet_cli::{ExitCode, Failure, Talk};
use dhtnet_identity::key_file::{self, KeyFileError, MAX_KEY_FILE_LEN};
use dhtnet_identity::{DeviceId, DeviceKey, atomic_file};
use serde_json::json;
use zeroize::Zeroizing;

use crate::bencode;
use crate::dht::{ItemSigner, sign_item, signed_item};
use crate::flags::SignFlags;
use crate::output::{Halt, Output};

/// Mode of the file with the public half.
const PUBLIC_MODE: u32 = 0o644;

/// A key as it was found in a file.
pub(crate) enum FoundKey {
    /// PKCS#8, or 64 bytes that begin with the seed.
    Seed(DeviceKey),
    /// The 64 bytes that older DHT programs keep.
    Expanded(Zeroizing<[u8; 64]>),
}

impl FoundKey {
    /// What signs items with it.
    pub(crate) fn signer(&self) -> ItemSigner {
        match self {
            Self::Seed(key) => ItemSigner::from(key.clone()),
            Self::Expanded(bytes) => ItemSigner::from_expanded(bytes),
        }
    }
}

/// Makes a key: `name` holds it, `name.pub` the public half.
pub(crate) fn generate(name: &Path, output: &Output) -> Result<(), Halt> {
    let public_path = public_path(name);
    if public_path.symlink_metadata().is_ok() {
        return Err(exists(&public_path).into());
    }
    let key = new_key()?;
    key_file::create(name, &key).map_err(|error| match error {
        KeyFileError::Exists { .. } => exists(name),
        error => Failure::failed(format!("cannot write the key: {}", chain(&error)))
            .advise("name a file in a directory that can be written"),
    })?;
    let public = HEXLOWER.encode(key.id().as_bytes());
    atomic_file::create_new(&public_path, format!("{public}\n").as_bytes(), PUBLIC_MODE).map_err(
        |error| {
            Failure::failed(format!(
                "the key is in {}, but {} cannot be written: {error}",
                name.display(),
                public_path.display()
            ))
        },
    )?;
    let json = json!({
        "k": public,
        "id": key.id().to_string(),
        "file": name,
        "public_file": public_path,
    });
    output.print(&format!("{public}\n"), &json)
}

/// Signs a value as `put --key` would.
pub(crate) fn sign(
    flags: &SignFlags,
    value: &[u8],
    output: &Output,
    talk: &Talk,
) -> Result<(), Halt> {
    let signer = load(&flags.key, talk)?.signer();
    let encoded = if flags.raw {
        value.to_vec()
    } else {
        bencode::encode_string(value)
    };
    let item = sign_item(&signer, flags.salt.as_bytes(), flags.seq, &encoded)?;
    let (target, item) = (item.target(), signed_item(&item));
    let mut json = json!({
        "target": target.to_string(),
        "v": String::from_utf8_lossy(&encoded),
    });
    if std::str::from_utf8(&encoded).is_err() {
        json["v"] = json!(HEXLOWER.encode(&encoded));
        json["encoding"] = json!("hex");
    }
    for (name, field) in item.signature_fields() {
        json[name] = field;
    }
    let text = format!(
        "target {target}\nk {}\nsig {}\nseq {}\n",
        HEXLOWER.encode(&item.key),
        HEXLOWER.encode(&item.signature),
        item.seq
    );
    output.print(&text, &json)
}

/// Reads a key: PKCS#8 as `genkey` writes it, or 64 bytes, raw or as hexadecimal digits, of an
/// older program, with a warning.
pub(crate) fn load(path: &Path, talk: &Talk) -> Result<FoundKey, Failure> {
    let unreadable = |error: &io::Error| {
        let failure = Failure::new(
            ExitCode::Identity,
            format!("cannot read the key {}: {error}", path.display()),
        );
        if error.kind() == io::ErrorKind::NotFound {
            failure.advise(format!("make it with: dhtnode genkey {}", path.display()))
        } else {
            failure
        }
    };
    let (bytes, mode) = read(path).map_err(|error| unreadable(&error))?;
    if mode & 0o077 != 0 {
        talk.warn(format_args!(
            "the key {} can be read by others (mode {:04o}); run: chmod 600 {}",
            path.display(),
            mode & 0o7777,
            path.display()
        ));
    }
    if let Some(old) = sixty_four_bytes(&bytes) {
        talk.warn(format_args!(
            "{} is a 64-byte key of an older program and is used as it is; new keys: dhtnode \
             genkey NAME",
            path.display()
        ));
        return Ok(of_sixty_four_bytes(old));
    }
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    DeviceKey::from_pkcs8_pem(text)
        .map(FoundKey::Seed)
        .map_err(|error| {
            Failure::new(
                ExitCode::Identity,
                format!("no key in {}: {}", path.display(), chain(&error)),
            )
            .advise("make one with: dhtnode genkey NAME")
        })
}

/// Contents and mode of a key file, of its first part if it is longer than any key file.
fn read(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE_LEN));
    file.take(MAX_KEY_FILE_LEN as u64).read_to_end(&mut bytes)?;
    Ok((bytes, metadata.permissions().mode()))
}

/// The 64 bytes of an old key file: raw, or as 128 digits with white space around them.
fn sixty_four_bytes(file: &[u8]) -> Option<Zeroizing<[u8; 64]>> {
    let mut key = Zeroizing::new([0; 64]);
    if file.len() == key.len() {
        key.copy_from_slice(file);
        return Some(key);
    }
    let digits = file.trim_ascii();
    if digits.len() != 2 * key.len() {
        return None;
    }
    HEXLOWER_PERMISSIVE.decode_mut(digits, key.as_mut()).ok()?;
    Some(key)
}

/// Two kinds of 64 bytes are about: seed and public key (NaCl), and the seed's hash (BEP 44's
/// test key). In the first, the second half belongs to the first.
fn of_sixty_four_bytes(bytes: Zeroizing<[u8; 64]>) -> FoundKey {
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&bytes[..32]);
    let key = DeviceKey::from_seed(&seed);
    if key.id().as_bytes()[..] == bytes[32..] {
        FoundKey::Seed(key)
    } else {
        FoundKey::Expanded(bytes)
    }
}

fn public_path(name: &Path) -> PathBuf {
    let mut path = name.as_os_str().to_owned();
    path.push(".pub");
    path.into()
}

fn exists(path: &Path) -> Failure {
    Failure::new(
        ExitCode::Identity,
        format!("{} is there already and is not overwritten", path.display()),
    )
    .advise("choose another name")
}

/// A public key as the user writes it: 64 hexadecimal digits, as `genkey` prints them, or a device
/// id.
pub(crate) fn parse_public(text: &str) -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    if text.len() == 2 * key.len() {
        return match HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut key) {
            Ok(_) => Ok(key),
            Err(_) => Err("not 64 hexadecimal digits".to_owned()),
        };
    }
    text.parse::<DeviceId>()
        .map(|id| *id.as_bytes())
        .map_err(|error| format!("neither 64 hexadecimal digits nor a device id: {error}"))
}

/// The device id of a public key, for messages.
pub(crate) fn owner_text(key: &[u8; 32]) -> String {
    DeviceId::from_bytes(key).map_or_else(|_| HEXLOWER.encode(key), |id| id.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::sync::Arc;

    use dhtnet_cli::talk::Captured;

    use super::*;
    use crate::output::Form;

    /// BEP 44's test key: not a seed, but a scalar and a prefix.
    const OLD_KEY: &str = "e06d3183d14159228433ed599221b80bd0a5ce8352e4bdf0262f76786ef1c74d\
                           b7e7a9fea2c0eb269d61e3b38e450a22e754941ac78479d6c54e1faf6037881d";
    const OLD_PUBLIC: &str = "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548";

    struct Place {
        dir: tempfile::TempDir,
        said: Captured,
        talk: Talk,
    }

    impl Place {
        fn new() -> Self {
            let said = Captured::default();
            Self {
                dir: tempfile::tempdir().unwrap(),
                talk: Talk::new("dhtnode", Box::new(said.clone())),
                said,
            }
        }

        fn write(&self, bytes: &[u8]) -> PathBuf {
            let path = self.dir.path().join("key");
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        }

        fn public(&self, path: &Path) -> Result<String, Failure> {
            load(path, &self.talk).map(|key| HEXLOWER.encode(&key.signer().key()))
        }

        fn printed(&self, print: impl FnOnce(&Output) -> Result<(), Halt>) -> Result<String, Halt> {
            let path = self.dir.path().join("stdout");
            let stdout = Arc::new(File::create(&path).unwrap());
            print(&Output::new(stdout, Form::Text)).map(|()| fs::read_to_string(path).unwrap())
        }
    }

    #[test]
    fn a_new_key_is_private_and_its_public_half_is_beside_it() {
        let place = Place::new();
        let name = place.dir.path().join("k.pem");
        let printed = place.printed(|output| generate(&name, output)).unwrap();
        assert_eq!(fs::read_to_string(public_path(&name)).unwrap(), printed);
        assert_eq!(place.public(&name).unwrap(), printed.trim());
        assert_eq!(place.said.text(), "");
        assert_eq!(name.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let Err(Halt::Failure(again)) = place.printed(|output| generate(&name, output)) else {
            panic!()
        };
        assert_eq!(again.code(), ExitCode::Identity);
        assert!(again.to_string().ends_with("choose another name"));
    }

    #[test]
    fn old_keys_are_taken_in_each_form_with_a_warning() {
        let place = Place::new();
        let raw = HEXLOWER.decode(OLD_KEY.as_bytes()).unwrap();
        let upper = OLD_KEY.to_uppercase();
        for file in [
            &raw[..],
            OLD_KEY.as_bytes(),
            format!(" {upper}\r\n").as_bytes(),
        ] {
            assert_eq!(place.public(&place.write(file)).unwrap(), OLD_PUBLIC);
        }
        assert_eq!(
            place
                .said
                .text()
                .matches("64-byte key of an older program")
                .count(),
            3
        );
        // Seed and public key, as NaCl keeps them.
        let key = DeviceKey::from_seed(&[7; 32]);
        let pair = [&[7; 32][..], key.id().as_bytes()].concat();
        assert_eq!(
            place.public(&place.write(&pair)).unwrap(),
            HEXLOWER.encode(key.id().as_bytes())
        );
    }

    #[test]
    fn a_public_key_is_read_as_digits_and_as_a_device_id() {
        let id = DeviceKey::from_seed(&[7; 32]).id();
        let digits = HEXLOWER.encode(id.as_bytes());
        assert_eq!(parse_public(&digits), Ok(*id.as_bytes()));
        assert_eq!(parse_public(&id.to_string()), Ok(*id.as_bytes()));
        for wrong in ["", &digits[1..], &digits.replace(&digits[..1], "g")] {
            assert!(parse_public(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_without_a_key_is_exit_code_5() {
        let place = Place::new();
        for file in [&b""[..], b"hello", &[0xff; 63], &[b'0'; 127]] {
            let failure = place.public(&place.write(file)).unwrap_err();
            assert_eq!(failure.code(), ExitCode::Identity);
            assert!(
                failure
                    .to_string()
                    .ends_with("make one with: dhtnode genkey NAME")
            );
        }
        let missing = place.public(&place.dir.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("make it with: dhtnode genkey"));
        assert!(place.public(place.dir.path()).is_err());
    }

    #[test]
    fn a_key_that_others_can_read_is_a_warning() {
        let place = Place::new();
        let path = place.write(OLD_KEY.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        place.public(&path).unwrap();
        assert!(
            place
                .said
                .text()
                .contains("can be read by others (mode 0644); run: chmod 600")
        );
    }

    #[test]
    fn signing_gives_the_vectors_of_bep_44() {
        let place = Place::new();
        let path = place.write(OLD_KEY.as_bytes());
        for (salt, target, signature) in [
            (
                "",
                "4a533d47ec9c7d95b1ad75f576cffc641853b750",
                "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff\
                 1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
            ),
            (
                "foobar",
                "411eba73b6f087ca51a3795d9c8c938d365e32c1",
                "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d\
                 df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
            ),
        ] {
            let flags = SignFlags {
                value: Vec::new(),
                raw: false,
                key: path.clone(),
                salt: salt.to_owned(),
                seq: 1,
            };
            let printed = place
                .printed(|output| sign(&flags, b"Hello World!", output, &place.talk))
                .unwrap();
            assert_eq!(
                printed,
                format!("target {target}\nk {OLD_PUBLIC}\nsig {signature}\nseq 1\n")
            );
        }
    }
}
