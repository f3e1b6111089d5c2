//! Inputs made of raw bytes: every byte means something, and where they end numbers follow from those that were there.

/// Where something begins or ends, or is the last of its kind.
const SPECIAL: [f32; 32] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NEG_INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    // Up to 32 rows are plain, and from 256 on a maximum is subtracted.
    31.999_998,
    32.0,
    -32.0,
    255.999_98,
    256.0,
    -256.0,
    257.5,
    // Where exponentials leave the floats, and the normal ones.
    88.722_84,
    -87.336_55,
    -103.972_08,
    -132.0,
    3000.0,
    -3000.0,
    1e5,
    1e30,
    -1e30,
    0.1,
];

const SCALES: [f32; 8] = [1e-30, 1e-3, 0.05, 0.25, 1.0, 3.0, 40.0, 1e30];

const OFFSETS: [f32; 8] = [0.0, 0.0, 0.0, 32.0, -256.0, 256.0, 3000.0, -1e5];

/// What is left of the bytes of an input.
pub struct Bytes<'a> {
    rest: &'a [u8],
    /// Follows from all bytes, and decides about what is expensive: were that a byte, inputs that have it would have
    /// offspring that all have it.
    pub luck: u64,
    counter: u64,
}

impl<'a> Bytes<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        let luck = data.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| mix(hash ^ u64::from(byte)));
        Self { rest: data, luck, counter: luck }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                byte
            }
            None => (self.random() >> 32) as u8,
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Any `f64`.
    pub fn double(&mut self) -> f64 {
        f64::from_bits(self.word())
    }

    /// Any `f32`.
    pub fn float(&mut self) -> f32 {
        f32::from_le_bytes(self.array())
    }

    /// In [0, 1), in steps of `2^-16`: so few that sums meet their bounds.
    pub fn unit(&mut self) -> f64 {
        f64::from(u16::from_le_bytes(self.array())) / 65536.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        if n <= 256 {
            usize::from(self.byte()) % n
        } else {
            usize::from(u16::from_le_bytes(self.array())) % n
        }
    }

    pub fn of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }

    /// A number from a counter, not from the bytes (SplitMix64).
    fn random(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.counter)
    }

    /// Rows and columns: small ones mostly, rarely of several segments, more rarely so many that threads share them.
    pub fn shape(&mut self) -> (usize, usize) {
        let (rows, cols) = (self.byte(), self.byte());
        match self.luck % 8192 {
            0 => self.of(&[(1, 40_000), (9, 4100), (41, 901), (3300, 10), (2100, 16)]),
            1..=12 => {
                (1 + usize::from(rows) % 2, [4090, 8185][usize::from(rows >> 7)] + usize::from(cols) % 14)
            }
            _ => {
                let cols = match cols {
                    0..=159 => 1 + usize::from(cols) % 20,
                    160..=239 => 1 + usize::from(cols - 160),
                    _ => 60 + 16 * usize::from(cols - 240) + usize::from(rows) % 17,
                };
                let rows = match rows % 16 {
                    0..=10 => 1,
                    11..=13 => 2 + usize::from(rows / 16) % 3,
                    // Sixteen narrow rows lie side by side.
                    _ if cols <= 20 => 15 + usize::from(rows / 16) % 4,
                    _ => 2,
                };
                (rows, cols)
            }
        }
    }

    /// Logits of one kind or another.
    pub fn row(&mut self, len: usize) -> Vec<f32> {
        let kind = self.byte();
        let (scale, offset) = (SCALES[usize::from(kind >> 3) % 8], OFFSETS[usize::from(kind / 64)]);
        match kind % 8 {
            0 => (0..len).map(|_| self.float()).collect(),
            1 => (0..len).map(|_| f32::from(self.byte() as i8) * 0.25).collect(),
            2 => {
                let offset = self.of(&OFFSETS);
                (0..len).map(|_| f32::from(self.byte() as i8) / 16.0 * scale + offset).collect()
            }
            3 => (0..len).map(|_| self.special()).collect(),
            // Some places of one logit apart.
            4 => {
                let bits = self.float().to_bits();
                (0..len)
                    .map(|_| f32::from_bits(bits.wrapping_add_signed(i32::from(self.byte() as i8) % 4)))
                    .collect()
            }
            // Many of them of few bytes.
            5 => {
                self.counter = u64::from(self.byte());
                (0..len).map(|_| self.bell() * scale + offset).collect()
            }
            6 => {
                self.counter = u64::from(self.byte());
                let masked = u64::from(self.byte()) << 56;
                (0..len)
                    .map(|_| {
                        let x = self.bell() * scale + offset;
                        if self.random() < masked { f32::NEG_INFINITY } else { x }
                    })
                    .collect()
            }
            _ => (0..len)
                .map(|_| match self.byte() {
                    byte @ 0..=223 => (f32::from(byte) - 112.0) * 0.25,
                    byte => SPECIAL[usize::from(byte) % 32],
                })
                .collect(),
        }
    }

    /// Numbers that may be probabilities, or nearly.
    pub fn probabilities(&mut self, len: usize) -> Vec<f32> {
        match self.byte() {
            0..=15 => self.row(len),
            16..=47 => (0..len).map(|_| self.float().abs()).collect(),
            48..=127 => (0..len).map(|_| f32::from(self.byte()) / 256.0).collect(),
            128..=159 => {
                // A few have all of it.
                let byte = |byte: u8| if byte < 192 { 0.0 } else { f32::from(byte - 191) / 64.0 };
                (0..len).map(|_| byte(self.byte())).collect()
            }
            _ => {
                let mut p = self.row(len);
                logits::softmax_in_place(&mut p);
                p
            }
        }
    }

    pub fn special(&mut self) -> f32 {
        SPECIAL[usize::from(self.byte()) % SPECIAL.len()]
    }

    /// About normal.
    fn bell(&mut self) -> f32 {
        let bits = self.random();
        let sum: i32 = (0..4).map(|i| i32::from((bits >> (16 * i)) as i16)).sum();
        sum as f32 / 37_800.0
    }

    /// A temperature: 1 mostly, and some that are none.
    pub fn temperature(&mut self) -> f64 {
        match self.byte() {
            0..=99 => 1.0,
            100..=149 => 0.05 + 4.0 * self.unit(),
            150..=179 => self.of(&[0.7, 0.5, 2.0, 3.0, 100.0, 0.01, 1e-3]),
            180..=229 => {
                let edges = [0.0, -0.0, f64::INFINITY, 1e-300, 2_f64.powi(-160), 2_f64.powi(160), 1e300];
                self.of(&edges)
            }
            230..=239 => 2_f64.powi(self.below(400) as i32 - 200) * (1.0 + self.unit()),
            _ => self.double(),
        }
    }
}

/// A number that is as far from its neighbours' as from any (SplitMix64).
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
