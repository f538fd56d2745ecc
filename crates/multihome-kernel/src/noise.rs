//! Deterministic noise for tests: the decoders must survive any bytes.

/// A small generator (xorshift64*): the same seed gives the same bytes on every machine.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Up to 96 bytes, most of them small, so that lengths and numbers are often plausible.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let len = self.next() % 97;
        (0..len)
            .map(|_| {
                let r = self.next();
                if r.is_multiple_of(4) { (r >> 8) as u8 } else { (r >> 8) as u8 % 33 }
            })
            .collect()
    }

    /// A valid message with a few bytes changed or the end cut off.
    pub(crate) fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.next() % 3 {
            if !bytes.is_empty() {
                let at = (self.next() as usize) % bytes.len();
                bytes[at] = self.next() as u8;
            }
        }
        if self.next().is_multiple_of(4) {
            bytes.truncate((self.next() as usize) % (bytes.len() + 1));
        }
        bytes
    }
}
