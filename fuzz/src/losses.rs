//! Cross-entropy, its gradient, and the gradients of softmax and log-softmax.

use logits::{CrossEntropy, Engine, Error, Loss, Reduction, RowLoss, Smoothed, Targets, reference};

use crate::bytes::Bytes;
use crate::judge::{Kind, Table, U, assert_near, kind, log_probabilities, on_all};

pub fn check(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    match bytes.byte() % 8 {
        0..=3 => cross_entropy(&mut bytes),
        4 | 5 => gradient(&mut bytes),
        6 => softmax_backward(&mut bytes),
        _ => log_softmax_backward(&mut bytes),
    }
}

/// Logits, what they are held against, and all options.
struct Case {
    x: Table,
    classes: Vec<i64>,
    probabilities: Option<Table>,
    smoothing: f64,
    smoothed: Smoothed,
    weights: Option<Vec<f32>>,
    z_loss: f64,
    softcap: Option<f64>,
    ignore_index: Option<i64>,
}

impl Case {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let (form, gap) = (bytes.byte(), bytes.below(3));
        let x = Table::new(bytes.shape(), gap, |cols| bytes.row(cols));
        let class = |bytes: &mut Bytes<'_>| match bytes.byte() {
            0..=31 => -100,
            32 => bytes.word() as i64,
            _ => bytes.below(x.cols) as i64,
        };
        let classes = (0..x.rows).map(|_| class(bytes)).collect();
        let probabilities = (form & 3 == 0)
            .then(|| Table::new((x.rows, x.cols), bytes.below(3), |cols| bytes.probabilities(cols)));
        let (smoothing, smoothed) = match form & 12 {
            0 => match bytes.byte() {
                0 => (bytes.double(), Smoothed::All),
                1..=31 => (1.0, Smoothed::All),
                byte @ 32..=127 => (f64::from(byte) / 256.0, Smoothed::Others),
                _ => (bytes.unit(), Smoothed::All),
            },
            _ => (0.0, Smoothed::All),
        };
        let weights = (form & 48 == 0).then(|| match bytes.byte() {
            0 => bytes.row(x.cols),
            _ => (0..x.cols).map(|_| f32::from(bytes.byte() % 8) * 0.3).collect(),
        });
        let z_loss = match bytes.byte() {
            0 => bytes.double(),
            1..=31 => bytes.unit(),
            _ => 0.0,
        };
        let softcap = match bytes.byte() {
            0 => Some(bytes.double()),
            1..=47 => Some(50.0 * (bytes.unit() + 1e-3)),
            _ => None,
        };
        let ignore_index = if form & 192 == 0 { None } else { Some(-100) };
        Self { x, classes, probabilities, smoothing, smoothed, weights, z_loss, softcap, ignore_index }
    }

    fn options(&self) -> CrossEntropy<'_> {
        let mut options = CrossEntropy::default();
        options.ignore_index = self.ignore_index;
        options.label_smoothing = self.smoothing;
        options.smoothed = self.smoothed;
        options.weights = self.weights.as_deref();
        options.z_loss = self.z_loss;
        options.softcap = self.softcap;
        options
    }

    fn targets(&self) -> Targets<'_> {
        match &self.probabilities {
            Some(probabilities) => probabilities.view().into(),
            None => (&self.classes).into(),
        }
    }

    /// Whether the library has nothing to refuse.
    fn is_right(&self) -> bool {
        let in_range = |&class: &i64| {
            Some(class) == self.ignore_index || usize::try_from(class).is_ok_and(|class| class < self.x.cols)
        };
        let weighted = |weight: &f32| *weight >= 0.0 && *weight < f32::INFINITY;
        (self.probabilities.is_some() || self.classes.iter().all(in_range))
            && (0.0..=1.0).contains(&self.smoothing)
            && (0.0..f64::INFINITY).contains(&self.z_loss)
            && self.softcap.is_none_or(|cap| cap > 0.0 && cap < f64::INFINITY)
            && self.weights.iter().flatten().all(weighted)
    }

    fn is_ignored(&self, row: usize) -> bool {
        self.probabilities.is_none() && Some(self.classes[row]) == self.ignore_index
    }

    fn weight(&self, class: usize) -> f64 {
        self.weights.as_ref().map_or(1.0, |weights| f64::from(weights[class]))
    }

    /// What a row counts in the mean.
    fn weight_of(&self, row: usize) -> f64 {
        match self.probabilities {
            _ if self.is_ignored(row) => 0.0,
            Some(_) => 1.0,
            None => self.weight(self.classes[row] as usize),
        }
    }

    /// What each class of a row counts, and whether all of these are numbers from 0 on.
    fn coefficients(&self, row: usize) -> (Vec<f64>, bool) {
        let (cols, a) = (self.x.cols, self.smoothing);
        let over = cols as f64;
        let mut are_right = true;
        let of = |class: usize| {
            let q = match &self.probabilities {
                Some(probabilities) => f64::from(probabilities.row(row)[class]),
                None => f64::from(u8::from(self.classes[row] as usize == class)),
            };
            are_right &= (0.0..f64::INFINITY).contains(&q);
            let mixed = match self.smoothed {
                Smoothed::Others if cols > 1 => (1.0 - a * over / (over - 1.0)) * q + a / (over - 1.0),
                _ => (1.0 - a) * q + a / over,
            };
            self.weight(class) * mixed
        };
        let coefficients = (0..cols).map(of).collect();
        (coefficients, are_right)
    }

    /// Logits as they count.
    fn capped(&self, x: &[f32]) -> Vec<f64> {
        let mut y: Vec<f64> = x.iter().copied().map(f64::from).collect();
        if let Some(cap) = self.softcap {
            reference::softcap(x, self.cap_as_it_is(cap), &mut y);
        }
        y
    }

    /// What is no normal float is taken for the nearest one.
    fn cap_as_it_is(&self, cap: f64) -> f64 {
        cap.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX))
    }

    /// Whether a row has a distribution: with a cap infinities are no more.
    fn is_fine(&self, x: &[f32]) -> bool {
        match kind(x) {
            Kind::Fine => true,
            Kind::Infinite => self.softcap.is_some(),
            Kind::Nan | Kind::Masked => false,
        }
    }

    fn context(&self, isa: &dyn std::fmt::Debug, row: usize) -> String {
        format!(
            "{isa:?}, row {:?}, class {}, probabilities {:?}, {:?}",
            self.x.row(row),
            self.classes[row],
            self.probabilities.as_ref().map(|p| p.row(row)),
            self.options()
        )
    }
}

fn cross_entropy(bytes: &mut Bytes<'_>) {
    let case = Case::new(bytes);
    let x = &case.x;
    let run = |engine: Engine| {
        let mut out = vec![RowLoss { loss: 7.0, weight: 7.0, logsumexp: 7.0 }; x.rows];
        let result = engine.cross_entropy_with(x.view(), case.targets(), &case.options(), &mut out);
        (result, out)
    };
    if !case.is_right() {
        let (result, out) = run(Engine::new());
        assert!(result.is_err(), "{result:?}: {}", case.context(&"", 0));
        assert!(out.iter().all(|row| row.loss == 7.0), "a refused call has written");
        return;
    }
    on_all(
        bytes.luck,
        x.rows * x.cols,
        |engine| {
            let (result, out) = run(engine);
            let Loss { sum, weight, count } = result.expect("nothing to refuse");
            let rows: Vec<[u64; 3]> =
                out.iter().map(|row| [row.loss, row.weight, row.logsumexp].map(f64::to_bits)).collect();
            ([sum, weight].map(f64::to_bits), count, rows)
        },
        |(sums, count, rows), _, isa| {
            let (mut sum, mut all) = ([0.0; 2], 0);
            for (row, got) in rows.iter().enumerate() {
                let [loss, weight, logsumexp] = got.map(f64::from_bits);
                (sum[0], sum[1]) = (sum[0] + loss, sum[1] + weight);
                judge_loss(&case, row, loss, logsumexp, &|| case.context(isa, row));
                let want = case.weight_of(row);
                assert!(weight == want, "the weight is {weight} and not {want}: {}", case.context(isa, row));
                all += usize::from(!case.is_ignored(row));
            }
            assert_eq!(*count, all);
            let is_it =
                |got: u64, want: f64| got == want.to_bits() || want.is_nan() && f64::from_bits(got).is_nan();
            assert!(is_it(sums[0], sum[0]) && is_it(sums[1], sum[1]), "{sums:?} are not the sums {sum:?}");
        },
    );
}

fn judge_loss(case: &Case, row: usize, loss: f64, logsumexp: f64, context: &dyn Fn() -> String) {
    let x = case.x.row(row);
    if case.is_ignored(row) {
        assert!(loss == 0.0 && logsumexp == 0.0, "an ignored row has {loss:e}: {}", context());
        return;
    }
    let (b, are_right) = case.coefficients(row);
    // One that is no probability leaves no loss, or one of +inf that is infinite; and a row without a distribution leaves none.
    if !case.is_fine(x) || !are_right && case.smoothing < 1.0 {
        let is_infinite = case.is_fine(x) && b.iter().any(|b| b.is_infinite()) && loss.is_infinite();
        assert!(loss.is_nan() || is_infinite, "{loss:e}: {}", context());
        return;
    }
    // Targets that are far from probabilities are judged no further: their sums may be no floats.
    if !are_right || b.iter().any(|b| b.abs() > 1e20) {
        return;
    }
    let y = case.capped(x);
    let (lse, cap) = (reference::logsumexp(&y), case.softcap.map_or(0.0, |cap| case.cap_as_it_is(cap)));
    let plain = reference::cross_entropy(&y, &b);
    let of_lse = 3e-7 + 2.2e-7 * cap + 2_f64.powi(-50) * lse.abs();
    assert_near(logsumexp, lse, of_lse, || format!("logsumexp: {}", context()));
    let counts: f64 = b.iter().map(|b| b.abs()).sum();
    let square = case.z_loss * lse * lse;
    let of_square = case.z_loss * (2.0 * lse.abs() * of_lse + of_lse * of_lse) + 1e-14 * square;
    // Distances from the maximum are summed up as floats.
    let most = y.iter().filter(|y| y.is_finite()).fold(0.0_f64, |most, y| most.max(y.abs()));
    if loss == f64::INFINITY && most * (1.0 + counts) * x.len() as f64 > 1e37 {
        return;
    }
    // What is below the normal floats rounds to their last place: products of weights and probabilities, and by distances.
    let of_least = 2_f64.powi(-149) * x.len() as f64 * (1.0 + 2.0 * most + lse.abs());
    let bound = 4e-7 * plain + 4.3e-7 * cap * counts + of_square + 1e-50 * counts + of_least;
    assert_near(loss, plain + square, bound, context);
    assert!(loss >= 0.0, "a loss below 0: {}", context());
}

fn gradient(bytes: &mut Bytes<'_>) {
    let case = Case::new(bytes);
    let x = &case.x;
    let (reduction, in_place) =
        (bytes.of(&[Reduction::Mean, Reduction::Sum]), bytes.byte().is_multiple_of(2));
    let run = |engine: Engine| {
        let (options, targets) = (case.options(), case.targets());
        if in_place {
            let mut out = Table { data: x.data.clone(), ..*x };
            let result = engine.cross_entropy_gradient_in_place(out.view_mut(), targets, &options, reduction);
            (result, out.bits())
        } else {
            let mut out = x.filled(1, 7.0);
            let result =
                engine.cross_entropy_gradient(x.view(), targets, &options, reduction, out.view_mut());
            (result, out.bits())
        }
    };
    if !case.is_right() {
        let (result, out) = run(Engine::new());
        assert!(result.is_err(), "{result:?}: {}", case.context(&"", 0));
        assert!(in_place || out.iter().all(|&y| y == 7_f32.to_bits()), "a refused call has written");
        return;
    }
    let total: f64 = (0..x.rows).map(|row| case.weight_of(row)).sum();
    let part = match reduction {
        Reduction::Mean => 1.0 / total,
        Reduction::Sum => 1.0,
    };
    on_all(
        bytes.luck,
        x.rows * x.cols,
        |engine| {
            let (result, out): (Result<(), Error>, _) = run(engine);
            result.expect("nothing to refuse");
            out
        },
        |got, fused, isa| {
            for (row, got) in got.chunks(x.cols).enumerate() {
                let got: Vec<f32> = got.iter().map(|&bits| f32::from_bits(bits)).collect();
                judge_gradient(&case, row, &got, part, fused, &|| {
                    format!("{reduction:?}, gradient {got:?}, {}", case.context(isa, row))
                });
            }
        },
    );
}

/// The sums of the first numbers: of none, of one, and so on.
fn running<'a>(numbers: impl Iterator<Item = &'a f64>) -> Vec<f64> {
    let sums = numbers.scan(0.0, |sum, number| Some(std::mem::replace(sum, *sum + number)));
    sums.collect()
}

fn judge_gradient(
    case: &Case,
    row: usize,
    got: &[f32],
    part: f64,
    fused: bool,
    context: &dyn Fn() -> String,
) {
    let x = case.x.row(row);
    if !part.is_finite() {
        return;
    }
    if case.is_ignored(row) {
        assert!(got.iter().all(|&y| y == 0.0), "an ignored row has a gradient: {}", context());
        return;
    }
    let (b, are_right) = case.coefficients(row);
    if !case.is_fine(x) {
        assert!(got.iter().all(|y| y.is_nan()), "not NaN: {}", context());
        return;
    }
    let y = case.capped(x);
    let cap = case.softcap.map_or(0.0, |cap| case.cap_as_it_is(cap));
    // What is far beyond floats is judged by the losses alone.
    let are_small =
        b.iter().all(|&b| b < 1e20) && case.z_loss < 1e20 && (cap == 0.0 || cap > 1e-3 && cap < 1e6);
    // What each class has of the smoothing is a float there.
    let are_small = are_small && (case.smoothing == 0.0 || case.smoothing > 1e-30);
    if !are_right || !are_small {
        return;
    }
    let (lse, logs) = (reference::logsumexp(&y), log_probabilities(&y, 1.0));
    let (mass, from_square) = (b.iter().sum::<f64>(), 2.0 * case.z_loss * lse);
    let of_lse = 3e-7 + 2.2e-7 * cap + 2_f64.powi(-50) * lse.abs();
    let target = if case.probabilities.is_none() { Some(case.classes[row] as usize) } else { None };
    // The sums of what stands before and behind each.
    let (before, behind) = (running(b.iter()), running(b.iter().rev()));
    for i in 0..x.len() {
        let p = logs[i].exp();
        let slope = match case.softcap {
            Some(_) if x[i] == f32::NEG_INFINITY => 0.0,
            Some(_) => slope_at(f64::from(x[i]) / cap),
            None => 1.0,
        };
        // What other classes count, and a square, may be less than the last place of all together.
        let of_others = before[i] + behind[x.len() - 1 - i];
        let (k, lacking) = (mass + from_square, of_others + from_square);
        // `1 - p` where that cancels, from the others.
        let others = if Some(i) == target && p > 0.5 {
            let others = logs.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, log)| log.exp());
            Some(others.sum::<f64>())
        } else {
            None
        };
        let plain = match others {
            Some(others) => lacking * p - b[i] * others,
            None => k * p - b[i],
        };
        let want = part * slope * plain;
        if want.abs() > 0.999 * f64::from(f32::MAX) {
            continue; // It may be no float.
        }
        let parts = match others {
            Some(others) => (lacking * p).abs() + b[i] * others,
            None => k.abs() * p + b[i],
        };
        // 7 ULP are 14 u at most; weights and probabilities of targets are two products and a sum more.
        let ulps = if fused { 14.0 } else { 18.0 };
        let of_cap = 7.2 * U * cap * p * others.unwrap_or(1.0 - p).max(0.0) * k.abs();
        let of_slope = if case.softcap.is_some() {
            (4.0 * (f64::from(x[i]) / cap).abs().min(45.0) + 9.0) * U * plain.abs()
        } else {
            0.0
        };
        let error = ulps * U * parts + U * plain.abs() + 2.0 * case.z_loss * of_lse * p + of_cap + of_slope;
        // A slope below `2^-113` is taken for 0.
        let flat = if case.softcap.is_some() { 2_f64.powi(-113) * (k.abs() + b[i]) } else { 0.0 };
        let bound = part * (slope * error + flat) + 8.0 * 2_f64.powi(-149) * (1.0 + part * (k.abs() + 1.0));
        assert_near(f64::from(got[i]), want, bound, || format!("element {i}: {}", context()));
    }
}

/// `1 - tanh(a)^2`.
fn slope_at(a: f64) -> f64 {
    let q = 2.0 / ((2.0 * a.abs()).exp() + 1.0);
    q * (2.0 - q)
}

fn backward(
    bytes: &mut Bytes<'_>,
    output: impl Fn(&mut Bytes<'_>, usize) -> Vec<f32>,
    run: impl Fn(Engine, &Table, &Table, Option<&mut Table>, &mut Table) + Sync,
    judge: impl Fn(&[f32], &[f32], &[f32], &dyn Fn() -> String),
) {
    let (in_place, shape) = (bytes.byte().is_multiple_of(2), bytes.shape());
    let y = Table::new(shape, bytes.below(3), |cols| output(bytes, cols));
    let g = Table::new(shape, bytes.below(3), |cols| bytes.row(cols));
    on_all(
        bytes.luck,
        shape.0 * shape.1,
        |engine| {
            let mut place = Table { data: g.data.clone(), ..g };
            if in_place {
                run(engine, &y, &g, None, &mut place);
                place.bits()
            } else {
                let mut out = g.filled(1, 7.0);
                run(engine, &y, &g, Some(&mut out), &mut place);
                out.bits()
            }
        },
        |got, _, isa| {
            for (row, got) in got.chunks(shape.1).enumerate() {
                let got: Vec<f32> = got.iter().map(|&bits| f32::from_bits(bits)).collect();
                let (y, g) = (y.row(row), g.row(row));
                judge(y, g, &got, &|| format!("{isa:?}, outputs {y:?}, gradients {g:?}, {got:?}"));
            }
        },
    );
}

fn softmax_backward(bytes: &mut Bytes<'_>) {
    backward(
        bytes,
        |bytes, cols| bytes.probabilities(cols),
        |engine, p, g, out, place| match out {
            Some(out) => engine.softmax_backward(p.view(), g.view(), out.view_mut()).expect("a shape"),
            None => engine.softmax_backward_in_place(p.view(), place.view_mut()).expect("a shape"),
        },
        |p, g, got, context| {
            let mut want = vec![0.0; p.len()];
            for (p, y) in p.iter().zip(got) {
                assert!(*p != 0.0 || *y == 0.0 || y.is_nan(), "{y:e} without probability: {}", context());
            }
            if !p.iter().chain(g).all(|x| x.abs() < 1e12) {
                return;
            }
            reference::softmax_backward(p, g, &mut want);
            let sum: f64 = p.iter().zip(g).map(|(&p, &g)| f64::from(p) * f64::from(g)).sum();
            let sizes: f64 = p.iter().zip(g).map(|(&p, &g)| (f64::from(p) * f64::from(g)).abs()).sum();
            for i in 0..p.len() {
                let (p, g) = (f64::from(p[i]).abs(), f64::from(g[i]));
                // The sum is one of f64, which may cancel.
                let of_sum = p * sizes * got.len() as f64 * f64::EPSILON;
                let bound = 3.0 * U * p * ((g - sum).abs() + U * sum.abs()) + of_sum + p * 2_f64.powi(-148);
                let bound = bound + 2_f64.powi(-149);
                assert_near(f64::from(got[i]), want[i], bound, || format!("element {i}: {}", context()));
            }
        },
    );
}

fn log_softmax_backward(bytes: &mut Bytes<'_>) {
    backward(
        bytes,
        |bytes, cols| {
            let mut y = bytes.row(cols);
            match bytes.byte() {
                0..=15 => {}
                16..=127 => logits::log_softmax_in_place(&mut y),
                _ => y.iter_mut().for_each(|y| *y = -y.abs()),
            }
            y
        },
        |engine, y, g, out, place| match out {
            Some(out) => engine.log_softmax_backward(y.view(), g.view(), out.view_mut()).expect("a shape"),
            None => engine.log_softmax_backward_in_place(y.view(), place.view_mut()).expect("a shape"),
        },
        |y, g, got, context| {
            // Log-probabilities are 0 at most.
            if y.iter().any(|&y| y.is_nan() || y > 0.0) || !g.iter().all(|g| g.abs() < 1e30) {
                return;
            }
            let mut want = vec![0.0; y.len()];
            reference::log_softmax_backward(y, g, &mut want);
            let sum: f64 = g.iter().map(|&g| f64::from(g)).sum();
            let sizes: f64 = g.iter().map(|&g| f64::from(g).abs()).sum();
            for i in 0..y.len() {
                let p = f64::from(y[i]).exp();
                let bound = 3.0 * U * p * sum.abs() + U * want[i].abs();
                // What is no float any more counts as nothing.
                let least = 2_f64.powi(-149) * (sum.abs() + 2.0);
                let bound = bound + p * sizes * got.len() as f64 * f64::EPSILON + least;
                assert_near(f64::from(got[i]), want[i], bound, || format!("element {i}: {}", context()));
            }
        },
    );
}
