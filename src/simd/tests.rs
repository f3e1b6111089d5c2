//! Every backend does lane by lane what [`F32`], [`F64`] and [`Mask`] say, and every instruction set has its name.
#![cfg(test)]

use core::fmt::Debug;
use core::mem::MaybeUninit;

use super::isa::{Isa, Machine};
use super::{F32, F64, HALF, Kernel, LANES, Mask, Simd};
use crate::math::trial::tested;

/// Runs a kernel on every machine.
fn everywhere<K: Kernel<Output = ()> + Copy>(kernel: K) {
    for isa in tested() {
        println!("{isa}");
        Machine::new(isa).unwrap().run(kernel);
    }
}

const SPECIAL: [f32; 17] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1.5,
    -2.75,
    3e-39,
    -1e-45,
    1e-20,
    16_777_217.0,
    3e38,
    -f32::MAX,
    f32::MIN_POSITIVE,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    -f32::NAN,
];

/// Vectors in which every special number meets every other one, and a third.
fn vectors() -> impl Iterator<Item = [[f32; LANES]; 3]> {
    let len = SPECIAL.len();
    let vector = move |start: usize, step: usize| core::array::from_fn(|i| SPECIAL[(start + step * i) % len]);
    (0..len * len).map(move |n| [vector(n % len, 1), vector(n / len, 3), vector(n / 2, 5)])
}

/// Bits, in which each NaN is the same.
trait Bits: Copy + Debug {
    fn bits(self) -> u64;
}

impl Bits for f32 {
    fn bits(self) -> u64 {
        if self.is_nan() { u64::MAX } else { self.to_bits().into() }
    }
}

impl Bits for f64 {
    fn bits(self) -> u64 {
        if self.is_nan() { u64::MAX } else { self.to_bits() }
    }
}

#[track_caller]
fn same<T: Bits>(got: &[T], want: &[T]) {
    let equal = got.iter().zip(want).all(|(got, want)| got.bits() == want.bits());
    assert!(got.len() == want.len() && equal, "{got:?} for {want:?}");
}

fn zip<T: Copy, U>(a: [T; LANES], b: [T; LANES], f: impl Fn(T, T) -> U) -> [U; LANES] {
    core::array::from_fn(|i| f(a[i], b[i]))
}

#[derive(Clone, Copy)]
struct Floats;

impl Kernel for Floats {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for [a, b, c] in vectors() {
            let (x, y, z) = (s.load(&a), s.load(&b), s.load(&c));
            same(&x.to_array(), &a);
            same(&s.splat(a[3]).to_array(), &[a[3]; LANES]);
            same(&(x + y).to_array(), &zip(a, b, |a, b| a + b));
            same(&(x - y).to_array(), &zip(a, b, |a, b| a - b));
            same(&(x * y).to_array(), &zip(a, b, |a, b| a * b));
            same(&(x / y).to_array(), &zip(a, b, |a, b| a / b));
            let fused = |i: usize| if S::FUSED { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] };
            same(&x.mul_add(y, z).to_array(), &core::array::from_fn::<_, LANES, _>(fused));
            same(&x.max(y).to_array(), &zip(a, b, |a, b| if a > b { a } else { b }));
            same(&x.min(y).to_array(), &zip(a, b, |a, b| if a < b { a } else { b }));
            same(&x.abs().to_array(), &a.map(f32::abs));
            same(&x.copy_sign(y).to_array(), &zip(a, b, f32::copysign));
            let bits = |set: [bool; LANES]| (0..LANES).fold(0, |bits, i| bits | u16::from(set[i]) << i);
            assert_eq!(x.equals(y).bits(), bits(zip(a, b, |a, b| a == b)));
            assert_eq!(x.exceeds(y).bits(), bits(zip(a, b, |a, b| a > b)));
            let selected = core::array::from_fn::<_, LANES, _>(|i| if a[i] > b[i] { c[i] } else { b[i] });
            same(&x.exceeds(y).select(z, y).to_array(), &selected);
            let exponents = b.map(|b| f32::from_bits(b.to_bits() << 23));
            same(&y.low_bits_to_exponent().to_array(), &exponents);
            same(&x.widen().to_array(), &a.map(f64::from));
            if !a.iter().any(|a| a.is_nan()) {
                assert_eq!(x.reduce_max(), a.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            }
        }
    }
}

#[test]
fn lanes_of_floats() {
    everywhere(Floats);
}

#[derive(Clone, Copy)]
struct Doubles;

impl Kernel for Doubles {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for floats in vectors() {
            // Numbers that floats do not have, and those beyond them.
            let [a, b, c] = floats.map(|floats| floats.map(|x| f64::from(x) * (1.0 + 1e-9)));
            let (x, y, z) = (s.load_f64(&a), s.load_f64(&b), s.load_f64(&c));
            same(&x.to_array(), &a);
            same(&s.splat_f64(a[3]).to_array(), &[a[3]; LANES]);
            same(&s.zero_f64().to_array(), &[0.0; LANES]);
            same(&(x + y).to_array(), &zip(a, b, |a, b| a + b));
            same(&(x - y).to_array(), &zip(a, b, |a, b| a - b));
            same(&(x * y).to_array(), &zip(a, b, |a, b| a * b));
            same(&(x / y).to_array(), &zip(a, b, |a, b| a / b));
            let fused = |i: usize| if S::FUSED { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] };
            same(&x.mul_add(y, z).to_array(), &core::array::from_fn::<_, LANES, _>(fused));
            same(&x.narrow().to_array(), &a.map(|a| a as f32));
            let power = |a: f64| f64::from_bits(a.to_bits() & f64::INFINITY.to_bits());
            same(&x.power_of_two().to_array(), &a.map(power));
            let equal = core::array::from_fn::<_, LANES, _>(|i| if a[i] == b[i] { c[i] } else { b[i] });
            same(&x.select_equal(y, z, y).to_array(), &equal);
            same(&x.halve(), &core::array::from_fn::<_, HALF, _>(|i| a[i] + a[i + HALF]));
            let normal = a.map(|a| if a.is_finite() && a != 0.0 { a.abs() } else { 1.0 });
            let exponents = normal.map(|a| f64::from((a.to_bits() >> 52) as u32) - 1023.0);
            same(&s.load_f64(&normal).exponent().to_array(), &exponents);
            // In the order that is promised: 16 -> 8 -> 4 -> 2 -> 1.
            let (mut sums, mut width) = (normal.to_vec(), HALF);
            while width > 0 {
                sums = (0..width).map(|i| sums[i] + sums[i + width]).collect();
                width /= 2;
            }
            same(&[s.load_f64(&normal).reduce_add()], &sums);
        }
    }
}

#[test]
fn lanes_of_doubles() {
    everywhere(Doubles);
}

/// Numbers that are all different, in no order.
fn mixed<T, const N: usize>(becomes: impl Fn(f32) -> T) -> [T; N] {
    core::array::from_fn(|i| becomes((i * 37 % 101) as f32 + 0.1))
}

#[derive(Clone, Copy)]
struct Memory;

impl Kernel for Memory {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let a: [f32; LANES] = mixed(|x| -x);
        for len in 0..LANES {
            let mut want = [7.5; LANES];
            want[..len].copy_from_slice(&a[..len]);
            same(&s.load_partial(&a[..len], 7.5).to_array(), &want);
        }
        for bits in 0..=u16::MAX {
            let mut to = [7.5; LANES];
            s.load(&a).compress(bits, &mut to);
            let want = (0..LANES).filter(|i| bits >> i & 1 == 1).map(|i| a[i]);
            assert!(want.eq(to[..bits.count_ones() as usize].iter().copied()), "{bits:b}: {to:?}");
        }
        // Where no line begins, too.
        let mut memory = [MaybeUninit::uninit(); 2 * LANES];
        for start in 0..LANES {
            s.load(&a).stream(memory[start..].first_chunk_mut().unwrap());
        }
        s.fence();
    }
}

#[derive(Clone, Copy)]
struct Together;

impl Kernel for Together {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let vectors: [[f32; LANES]; LANES] = core::array::from_fn(|i| mixed(|x| x * (i as f32 - 7.7)));
        let largest = |vector: [f32; LANES]| vector.into_iter().fold(f32::NEG_INFINITY, f32::max);
        same(&s.maxima(&vectors), &vectors.map(largest));

        let rows: [[f32; HALF]; HALF] = core::array::from_fn(|i| mixed(|x| x + i as f32));
        for (i, column) in s.transpose(rows).into_iter().enumerate() {
            same(&column, &rows.map(|row| row[i]));
        }

        let doubles: [[f64; HALF]; HALF] =
            core::array::from_fn(|i| mixed(|x| f64::from(x) / (i as f64 + 0.3)));
        let halves = |[a, b, c, d, e, f, g, h]: [f64; HALF]| ((a + e) + (c + g)) + ((b + f) + (d + h));
        same(&s.sums(&doubles), &doubles.map(halves));

        in_step::<S, 1>(s, &vectors);
        in_step::<S, 2>(s, &vectors);
        in_step::<S, 4>(s, &vectors);
        in_step::<S, 8>(s, &vectors);
        in_step::<S, 9>(s, &vectors);
    }
}

/// What goes in step stays what it is.
#[inline(always)]
fn in_step<S: Simd, const N: usize>(s: S, vectors: &[[f32; LANES]; LANES]) {
    let together = S::F32::in_step::<N>(core::array::from_fn(|i| s.load(&vectors[i])));
    for (got, want) in together.iter().zip(vectors) {
        same(&got.to_array(), want);
    }
}

#[test]
fn memory() {
    everywhere(Memory);
}

#[test]
fn several_vectors() {
    everywhere(Together);
}

#[test]
fn names_are_read_as_they_are_written() {
    for isa in Isa::ALL {
        assert_eq!(isa.name().parse(), Ok(isa));
        assert_eq!(format!("{isa:>9}|"), format!("{:>9}|", isa.name()));
    }
    let error = "sse2".parse::<Isa>().unwrap_err().to_string();
    assert_eq!(error, "not an instruction set: it must be one of scalar, portable, neon, avx2, avx512");
}

#[test]
fn the_best_is_the_last_that_is_available() {
    let available: Vec<_> = Isa::available().collect();
    assert_eq!(available.last(), Some(&Isa::detect()));
    assert!(available.starts_with(&[Isa::Scalar, Isa::Portable]));
    for isa in Isa::ALL {
        let machine = Machine::new(isa);
        assert_eq!(isa.is_available(), available.contains(&isa));
        assert_eq!(machine.map(Machine::isa), isa.is_available().then_some(isa));
        // Those of x86-64 have a way past the caches.
        let streams = matches!(isa, Isa::Avx2 | Isa::Avx512);
        assert!(machine.is_none_or(|machine| machine.streams() == streams));
        assert_eq!(isa.is_fused(), isa != Isa::Portable || cfg!(portable_fma));
    }
}

#[test]
fn what_the_environment_says() {
    println!("it says {:?}", Isa::from_env());
}

/// The test before this one in a process of its own, whose environment says something.
#[test]
#[cfg(not(target_family = "wasm"))]
fn the_environment_chooses() {
    if crate::effort::is_emulated() {
        return;
    }
    let ask = |value: &str| {
        let mut test = std::process::Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "simd::tests::what_the_environment_says", "--nocapture"]);
        String::from_utf8(test.env("LOGITS_ISA", value).output().unwrap().stdout).unwrap()
    };
    assert!(ask("").contains("it says Ok(None)"));
    assert!(ask("scalar").contains("it says Ok(Some(Scalar))"));
    assert!(ask("avx512").contains("it says Ok(Some(Avx512))"));
    assert!(ask("sse2").contains("it says Err("));
}
