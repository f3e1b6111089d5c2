//! A decoding loop over two sequences at once, with penalties for what has been said: a "model" of ten words gives the logits.
//!
//! `cargo run --release --example decode`

use logits::{Draw, Engine, History, Rows, Sampler, Token};

const WORDS: [&str; 10] = ["the", "cat", "saw", "a", "dog", "and", "then", "it", "ran", "."];

/// Logits of the next word: what a model would compute.
fn model(last: u32, logits: &mut [f32]) {
    for (word, logit) in logits.iter_mut().enumerate() {
        // It likes the next words of the list, and the first one.
        let ahead = (word + WORDS.len() - last as usize) % WORDS.len();
        *logit = 3.0 / ahead.max(1) as f32 + if word == 0 { 0.5 } else { 0.0 };
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new();
    // One sampler for each row: the first is careful, the second is not.
    let samplers = [
        Sampler::builder().temperature(0.7).top_p(0.9).seen_penalties(1.3, 0.0, 0.0).build()?,
        Sampler::builder().temperature(1.5).min_p(0.02).seen_penalties(1.0, 0.4, 0.2).build()?,
    ];
    let mut histories = [History::new(&[0]), History::new(&[0])];
    let mut last = [0_u32; 2];
    let mut texts = [String::from(WORDS[0]), String::from(WORDS[0])];

    let mut logits = [0.0; 2 * WORDS.len()];
    let mut tokens = [Ok(Token::default()); 2];
    for position in 0..12 {
        for (last, logits) in last.iter().zip(logits.chunks_mut(WORDS.len())) {
            model(*last, logits);
        }
        // Seed, stream and position: the same words on every run, machine and number of threads.
        let draw = |row: usize| Draw::counted(2026, row as u64, position).history(&histories[row]);
        let draws = [draw(0), draw(1)];
        engine.sample(Rows::new(&logits, WORDS.len())?, &samplers, &draws, &mut tokens)?;
        for row in 0..2 {
            let token = tokens[row]?;
            histories[row].push(token.id);
            last[row] = token.id;
            texts[row] += " ";
            texts[row] += WORDS[token.id as usize];
        }
    }
    for text in texts {
        println!("{text}");
    }
    Ok(())
}
