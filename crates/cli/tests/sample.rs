//! `logits sample`.

use common::{OCR_CLASSES, OCR_LOGITS, Place, some_logits};
use logits::{Draw, Engine, History, Rows, Sampler, Token};
use serde_json::Value;

mod common;

const INF: f32 = f32::INFINITY;

/// The tokens of a run with `--format csv`: row, position, token.
fn tokens(csv: &str) -> Vec<[usize; 3]> {
    let mut csv = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(csv.headers().unwrap().iter().next(), Some("row"));
    csv.records().map(|line| [0, 1, 2].map(|at| line.as_ref().unwrap()[at].parse().unwrap())).collect()
}

/// What the library draws, row after row.
fn drawn(
    logits: &[f32],
    cols: usize,
    sampler: &Sampler,
    history: &History,
    seed: u64,
    draws: usize,
) -> Vec<[usize; 3]> {
    let mut all = Vec::new();
    for (row, logits) in logits.chunks(cols).enumerate() {
        let mut last = Token::default();
        for position in 0..draws {
            let draw = Draw::counted(seed, row as u64, position as u64).history(history).mu(last.mu);
            let mut token = [Ok(Token::default())];
            let rows = Rows::new(logits, cols).unwrap();
            Engine::new().serial().sample(rows, sampler, &[draw], &mut token).unwrap();
            last = token[0].unwrap();
            all.push([row, position, last.id as usize]);
        }
    }
    all
}

/// The line that holds `label`, as words.
#[track_caller]
fn line<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.contains(label));
    line.unwrap_or_else(|| panic!("{label} is not in\n{text}")).split_whitespace().collect()
}

#[test]
fn seed_row_and_position_decide() {
    let place = Place::new();
    // More rows than a block has; more tokens than are kept at a time.
    for (rows, cols, draws) in [(2200, 1000, 2), (300, 10, 300)] {
        let logits = some_logits(rows * cols);
        place.save("x.npy", &[rows as u64, cols as u64], &logits);
        let options = format!("sample x.npy --temperature 4 --min-p 0.01 -n {draws} --format csv --seed");
        let sample = |more: &str| tokens(place.run(&format!("{options} {more}")).quietly().text());
        let all = sample("5");
        let sampler = Sampler::builder().temperature(4.0).min_p(0.01).build().unwrap();
        assert!(all == drawn(&logits, cols, &sampler, &History::default(), 5, draws));
        for threads in 1..4 {
            assert!(all == sample(&format!("5 --threads {threads}")), "{threads} threads");
        }
        assert!(all[(rows - 1) * draws..] == sample(&format!("5 --row {}", rows - 1)));
        assert!(all != sample("6"));
    }
}

#[test]
fn many_draws_of_one_row_come_in_order() {
    let place = Place::new();
    place.save("x.npy", &[3], &[0.0_f32, 1.0, 2.0]);
    let all = tokens(place.run("sample x.npy -n 70000 --format csv").quietly().text());
    assert!(all.iter().enumerate().all(|(index, [row, position, _])| (*row, *position) == (0, index)));
    assert_eq!(all.len(), 70000);
    assert!(all == drawn(&[0.0, 1.0, 2.0], 3, &Sampler::default(), &History::default(), 0, 70000));
}

#[test]
fn options_are_those_of_the_library() {
    let place = Place::new();
    let logits = some_logits(500);
    place.save("x.npy", &[5, 100], &logits);
    place.save("tokens.npy", &[3], &[17_i16, 4, 17]);
    let check = |options: &str, builder: logits::SamplerBuilder, history: &History| {
        let run = place.run(&format!("sample x.npy --format csv -n 20 {options}")).quietly();
        let want = drawn(&logits, 100, &builder.build().unwrap(), history, 0, 20);
        assert_eq!(tokens(run.text()), want, "{options}");
    };
    let none = History::default();
    let hot = Sampler::builder().temperature(4.0);
    check("-t 4 --method gumbel", hot.clone().method(logits::Method::Gumbel), &none);
    check(
        "-t 4 --min-p 0.1 --typical 0.5 --min-keep 3",
        hot.clone().min_p(0.1).typical(0.5).min_keep(3),
        &none,
    );
    check("-t 4 --xtc-chance 0.5", hot.clone().xtc(0.5, 0.1), &none);
    check("-t 4 --mirostat-tau 3 --mirostat-eta 0.5", hot.clone().mirostat(3.0, 0.5), &none);
    check("-t 4 --bias 3=-inf,5=7.5 --bias 8=1", hot.clone().bias([(3, -INF), (5, 7.5), (8, 1.0)]), &none);
    check("--preset llama-cpp", Sampler::preset(logits::Preset::LlamaCpp), &none);
    let order = [logits::Filter::TopK, logits::Filter::TopNSigma, logits::Filter::Temperature];
    let ordered = hot.clone().top_k(7).top_n_sigma(2.0).order(&order);
    check("-t 4 --top-k 7 --top-n-sigma 2 --order top-k,top-n-sigma,temperature", ordered, &none);
    let mut history = History::new(&[9, 10]);
    [17, 4, 17].into_iter().for_each(|token| history.push(token));
    let penalties =
        "-t 4 --repetition-penalty 1.5 --frequency-penalty -3 --presence-penalty 0.5 --prompt 9,10";
    let penalised = hot.seen_penalties(1.5, -3.0, 0.5);
    check(&format!("{penalties} --tokens 17,4,17"), penalised.clone(), &history);
    check(&format!("{penalties} --tokens tokens.npy"), penalised, &history);
}

#[test]
fn at_temperature_0_the_sentence_is_read() {
    let place = Place::new();
    let run =
        place.run(&format!("sample {OCR_LOGITS} --classes {OCR_CLASSES} --temperature 0 --ctc")).quietly();
    assert!(run.text().ends_with("\nreads  softmax(x) = exp(x- max) / sum\n"), "{}", run.text());
    let run = place.run(&format!("sample {OCR_LOGITS} --classes {OCR_CLASSES} -t 2 -n 3 --ctc")).quietly();
    assert_eq!(run.text().matches("reads").count(), 3);

    place.save("x.npy", &[1, 4], &[1.0_f32, 2.0, 2.0, 0.0]);
    let run = place.run("sample x.npy --temperature 0 -n 9 --format csv").quietly();
    assert!(tokens(run.text()).iter().all(|token| token[2] == 1), "the first of equal ones");
}

#[test]
fn log_probability_and_rank_are_those_of_the_row() {
    let place = Place::new();
    place.save("x.npy", &[1, 3], &[0.0_f32, 2.0, 2.0]);
    place.write("names.txt", "cat\n\"dog\", wet\n \n");
    let run = place.run("sample x.npy --top-k 1 --classes names.txt --top 9 --format json").quietly();
    let lines: Vec<Value> = serde_json::from_str(run.text()).unwrap();
    assert_eq!(lines.len(), 1);
    let (line, log_p) = (&lines[0], -(2.0 + (-2.0_f64).exp()).ln());
    assert!(line["token"] == 1 && line["token_name"] == "\"dog\", wet" || line["token"] == 2, "{line}");
    assert!((line["log_probability"].as_f64().unwrap() - log_p).abs() < 1e-6);
    assert_eq!((&line["rank"], &line["position"], &line["error"]), (&2.into(), &0.into(), &Value::Null));
    assert_eq!((&line["top1"], &line["top3_name"]), (&1.into(), &"cat".into()));
    assert!((line["top3_log_probability"].as_f64().unwrap() - (log_p - 2.0)).abs() < 1e-6);
    assert!(line.get("top4").is_none());

    let run = place.run("sample x.npy --top-k 1 --log-probability filtered --format json").quietly();
    let lines: Vec<Value> = serde_json::from_str(run.text()).unwrap();
    assert!((lines[0]["log_probability"].as_f64().unwrap() - 0.5_f64.ln()).abs() < 1e-6);
}

#[test]
fn a_row_without_tokens_says_why_and_the_others_go_on() {
    let place = Place::new();
    place.save("x.npy", &[4, 2], &[0.0, 9.0, f32::NAN, 0.0, -INF, -INF, 0.0, INF]);
    let warning = ["logits: x.npy: warning: 3 of 4 rows have no token (first: row 1)"];
    let run = place.run("sample x.npy --temperature 0 -n 2 --top 1 --format csv").says(0, &warning);
    let lines: Vec<&str> = run.text().lines().skip(1).collect();
    assert!(lines[0].starts_with("0,0,1,-0.000123") && lines[1].starts_with("0,1,1,-0.000123"));
    assert_eq!(
        lines[2..],
        [
            "1,,,,,the logit of token 0 is NaN,,",
            "2,,,,,no token may be drawn: all logits are -inf or masked,,",
            "3,,,,,the logit of token 1 is +inf,,"
        ]
    );
    let run = place.run("sample x.npy --format json").says(0, &warning);
    let rows: Vec<Value> = serde_json::from_str(run.text()).unwrap();
    assert_eq!((&rows[1]["token"], &rows[1]["error"]), (&Value::Null, &"the logit of token 0 is NaN".into()));
    for draws in [1, 3] {
        let run = place.run(&format!("sample x.npy -n {draws}")).says(0, &warning);
        assert!(run.text().contains("the logit of token 1 is +inf"), "{}", run.text());
    }
    for options in ["--show --row 1", "--row 1 -n 20"] {
        let run = place.run(&format!("sample x.npy {options}")).quietly();
        assert!(run.text().ends_with("the logit of token 0 is NaN\n"), "{}", run.text());
    }
    let run = place.run("sample x.npy --show --bias 0=-inf,1=-inf").quietly();
    assert!(
        run.text().ends_with("bias and penalties\nno token may be drawn: all logits are -inf or masked\n")
    );
}

#[test]
fn draws_are_counted_beside_what_was_expected() {
    let place = Place::new();
    let logits = [0.5_f32, 0.25, 0.125, 0.125].map(f32::ln);
    place.save("x.npy", &[2, 4], &[[0.0; 4], logits].concat());
    let run = place.run("sample x.npy --row 1 -n 10000 --top 2").quietly();
    let lines: Vec<Vec<&str>> = run.text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(run.text().lines().next(), Some("x.npy · row 1 of 2 · 4 classes"));
    assert_eq!(run.text().lines().nth(1), Some("10000 draws · seed 0"));
    for (line, token, expected, percent) in
        [(3, "0", "5000.0", "50.00%"), (4, "1", "2500.0", "25.00%"), (5, "2", "2500.0", "25.00%")]
    {
        let line = &lines[line];
        let behind = &line[line.iter().position(|word| *word == expected).unwrap() - 1..];
        assert_eq!((line[0], behind[3]), (token, percent), "{line:?}");
        let drawn: f64 = behind[0].parse().unwrap();
        assert!((drawn - expected.parse::<f64>().unwrap()).abs() < 250.0, "{line:?}"); // five deviations
    }
    assert!(lines[5].contains(&"others"));

    // With and without luck: token 0 alone goes, in half of the draws.
    let run = place.run("sample x.npy --row 1 -n 10000 --xtc-chance 0.5 --xtc-threshold 0.2").quietly();
    assert_eq!(line(run.text(), " 0  ")[3], "2500.0", "{}", run.text());
    // What Mirostat expects depends on what it has drawn.
    let run = place.run("sample x.npy --row 1 -n 100 --mirostat-tau 3").quietly();
    assert!(!run.text().contains("expected"));

    // Of several rows each has a line.
    let run = place.run("sample x.npy -n 100 --temperature 0").quietly();
    assert_eq!(line(run.text(), "  0  ")[..4], ["0", "1", "0", "1.0000"], "{}", run.text());
    assert_eq!(run.text().lines().count(), 2 + 2);
}

#[test]
fn steps_show_what_they_drop() {
    let place = Place::new();
    let logits = [0.125_f32, 0.5, 0.25, 0.125].map(f32::ln);
    place.save("x.npy", &[2, 4], &[[0.0; 4], logits].concat());
    let run = place.run("sample x.npy --row 1 --top-k 2 --temperature 0.5 --order top-k,temperature --show");
    let run = run.quietly();
    let text = run.text();
    assert!(text.starts_with("x.npy · row 1 of 2 · 4 classes\n\n"));
    let (top_k, temperature) = text.split_once("temperature 0.5  all 2 tokens stay").unwrap();
    assert!(top_k.contains("top-k 2  2 of 4 tokens stay, with 75.00% of the probability"), "{text}");
    let words = |text: &str, at: usize| -> Vec<String> {
        text.lines().nth(at).unwrap().split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(words(top_k, 4)[0], "1");
    assert_eq!(words(top_k, 4)[2..], ["50.00%", "66.67%"]);
    assert_eq!(words(top_k, 6)[..2], ["-", "0"]);
    assert_eq!(words(top_k, 7)[..2], ["-", "3"]);
    assert_eq!(words(top_k, 7).last().unwrap(), "12.50%");
    assert_eq!(words(temperature, 2)[2..], ["66.67%", "80.00%"]);
    assert_eq!(words(temperature, 3)[2..], ["33.33%", "20.00%"]);
    assert!(!temperature.contains('-') || temperature.contains("log p -"), "{text}");
    let drawn =
        tokens(place.run("sample x.npy --row 1 --top-k 2 --temperature 0.5 --format csv").quietly().text());
    assert!(line(text, "draws")[1] == drawn[0][2].to_string(), "{text}");

    let run = place.run("sample x.npy --show --bias 2=5 --top 1").quietly();
    assert!(run.text().contains("bias and penalties  all 4 tokens stay"));
    assert_eq!(words(run.text(), 4)[0], "2", "what becomes probable is shown too");
    let run = place.run("sample x.npy --show").quietly();
    assert!(run.text().contains("no step is on  all 4 tokens stay"));
    // Where nothing that is dropped is among the first, what is last and what is dropped next.
    place.save("x.npy", &[1, 100], &some_logits(100));
    let text = place.run("sample x.npy --show --top-k 50 --top 5").quietly().text().to_owned();
    assert_eq!(text.lines().filter(|line| line.starts_with(" -")).count(), 3, "{text}");
    assert!(text.contains("47 others") && text.contains("48 others"), "{text}");
}

#[test]
fn what_makes_no_sense_is_explained() {
    let place = Place::new();
    place.save("x.npy", &[3, 2], &some_logits(6));
    for (options, code, parts) in [
        ("--top-p 1.5", 2, "logits: top-p is 1.5: it must be from 0 to 1"),
        ("--top-p -1", 2, "logits: top-p is -1: it must be from 0 to 1"),
        ("--min-keep 0", 2, "logits: min-keep is 0: it must be 1 or more"),
        ("--xtc-chance 2", 2, "logits: the chance of XTC is 2: it must be from 0 to 1"),
        ("--bias 1=inf", 2, "logits: a bias is inf: it must be a number or -inf"),
        ("--bias 1", 2, "a bias is a token and a number, as in 17=-1.5"),
        ("--temperature -1", 2, "a temperature is a number from 0"),
        ("-n 0", 2, "a number of draws is 1 or more"),
        ("--top-p 0.5 --order top-k", 2, "logits: top-p is on, but not in the order"),
        ("--order top-k,top-k", 2, "logits: top-k is twice in the order"),
        ("--order top-q", 2, "top-n-sigma"),
        ("--xtc-threshold 0.2", 2, "--xtc-chance"),
        ("--tokens 1", 2, "--repetition-penalty"),
        ("--presence-penalty 1 --prompt 1", 2, "--tokens"),
        ("--show --format csv", 2, "--format"),
        ("--ctc --format csv", 2, "--ctc"),
        ("--row 3", 1, "logits: x.npy: there is no row 3: the last of its 3 rows is 2"),
        ("--bias 2=1", 1, "logits: --bias: names token 2, but the rows of x.npy have 2 columns"),
        ("--tokens 1,7 --presence-penalty 1", 1, "logits: --tokens: names token 7, but the rows of x.npy"),
        (
            "--tokens x.npy --presence-penalty 1",
            1,
            "logits: x.npy: the element type is '<f4'; tokens are integers",
        ),
    ] {
        place.run(&format!("sample x.npy {options}")).says(code, &[parts]);
    }
    place.save("tokens.npy", &[2], &[0_i32, -1]);
    place
        .run("sample x.npy --tokens tokens.npy --presence-penalty 1")
        .says(1, &["logits: tokens.npy: names token -1, but the rows of x.npy have 2 columns"]);
    place.run("sample - --tokens - --presence-penalty 1").says(2, &["standard input, -, can be one"]);
    place.save::<f32>("empty.npy", &[0, 4], &[]);
    assert_eq!(place.run("sample empty.npy --format json").quietly().text(), "[\n]\n");
    place.run("sample empty.npy --show").says(1, &["empty.npy: shape (0, 4): there is nothing in it"]);
    assert!(place.run("sample --help").quietly().text().contains("Examples:"));
}
