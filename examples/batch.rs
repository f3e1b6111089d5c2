//! A batch over threads: probabilities, log-probabilities and normalisers of some rows, one of them bad.
//!
//! `cargo run --release --example batch`

use logits::{Engine, Error, Rows, RowsMut, Softmax};

fn main() -> Result<(), Error> {
    let cols = 4;
    let logits = [
        2.0,
        1.0,
        0.0,
        -1.0, // an ordinary row
        3000.0,
        2990.0,
        2980.0,
        2970.0, // far from zero
        0.5,
        f32::NEG_INFINITY,
        0.5,
        f32::NEG_INFINITY, // two classes are masked
        1.0,
        f32::NAN,
        1.0,
        1.0, // a broken row: the others do not notice
    ];
    let x = Rows::new(&logits, cols)?;
    let engine = Engine::new();

    let mut probabilities = [0.0; 16];
    engine.softmax(x, RowsMut::new(&mut probabilities, cols)?)?;
    let mut cooler = [0.0; 16];
    let options = Softmax { temperature: 0.5, ..Default::default() };
    engine.softmax_with(x, RowsMut::new(&mut cooler, cols)?, &options)?;
    let mut log_probabilities = [0.0; 16];
    engine.log_softmax(x, RowsMut::new(&mut log_probabilities, cols)?)?;
    let mut normalizers = [0.0; 4];
    engine.logsumexp(x, &mut normalizers)?;

    println!("on {}", engine.isa());
    for row in 0..x.rows() {
        println!("logits {:?}, logsumexp {:.4}", x.row(row), normalizers[row]);
        println!("    p          {:.4?}", &probabilities[row * cols..][..cols]);
        println!("    p, T = 0.5 {:.4?}", &cooler[row * cols..][..cols]);
        println!("    log p      {:.4?}", &log_probabilities[row * cols..][..cols]);
    }
    Ok(())
}
