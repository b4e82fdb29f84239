//! Reading vector files: one `name = hexadecimal bytes` a line, `#` for comments.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;

pub(crate) struct Vectors(BTreeMap<&'static str, Vec<u8>>);

impl Vectors {
    pub(crate) fn read(text: &'static str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            lines
                .map(|line| {
                    let (name, bytes) = line.split_once(" = ").unwrap();
                    (name, HEXLOWER.decode(bytes.as_bytes()).unwrap())
                })
                .collect(),
        )
    }

    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        self.0
            .get(name)
            .unwrap_or_else(|| panic!("no vector {name}"))
    }

    pub(crate) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }
}
