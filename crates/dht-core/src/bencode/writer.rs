//! Appending values to a buffer of the caller's.

/// Digits of the longest 64-bit number.
const MAX_DIGITS: usize = 20;

/// Appends what it is told, in the order it is told: keys ascending is the caller's task.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Appends to `out`.
    pub const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// An integer.
    pub fn int(&mut self, number: i64) {
        self.out.push(b'i');
        if number < 0 {
            self.out.push(b'-');
        }
        self.digits(number.unsigned_abs());
        self.out.push(b'e');
    }

    /// A byte string, also a key of a dictionary.
    #[inline]
    pub fn bytes(&mut self, string: &[u8]) {
        self.string_header(string.len());
        self.out.extend_from_slice(string);
    }

    /// The length of a byte string with its colon; `len` bytes have to follow through
    /// [`Writer::raw`].
    #[inline]
    pub fn string_header(&mut self, len: usize) {
        self.digits(len as u64);
        self.out.push(b':');
    }

    /// A byte string of `len` zeros.
    pub fn zeros(&mut self, len: usize) {
        self.string_header(len);
        self.out.resize(self.out.len() + len, 0);
    }

    /// Begins a list.
    pub fn list(&mut self) {
        self.out.push(b'l');
    }

    /// Begins a dictionary.
    pub fn dict(&mut self) {
        self.out.push(b'd');
    }

    /// Ends the innermost list or dictionary.
    pub fn end(&mut self) {
        self.out.push(b'e');
    }

    /// Bytes as they are: values that are encoded already, or the rest of a string.
    pub fn raw(&mut self, encoded: &[u8]) {
        self.out.extend_from_slice(encoded);
    }

    #[inline]
    fn digits(&mut self, mut number: u64) {
        if number < 10 {
            self.out.push(b'0' + number as u8);
            return;
        }
        let mut digits = [0; MAX_DIGITS];
        let mut at = MAX_DIGITS;
        while number > 0 {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.out.extend_from_slice(&digits[at..]);
    }
}
