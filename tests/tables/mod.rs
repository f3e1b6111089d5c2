//! Tables that other programs have computed, by the scripts beside them.
#![allow(dead_code, reason = "each test uses a part")]

use logits::{CrossEntropy, Distribution, Rows, Targets};
use serde_json::Value;

/// The cases of a table.
fn cases(table: &str) -> Vec<Value> {
    let path = format!("{}/tests/tables/{table}.json", env!("CARGO_MANIFEST_DIR"));
    let mut table: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    table["cases"].as_array_mut().map(std::mem::take).unwrap()
}

/// What PyTorch says of cross-entropies.
pub fn cross_entropies() -> impl Iterator<Item = Case> {
    cases("cross_entropy").into_iter().map(Case::new)
}

pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

pub fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|x| x as f32).collect()
}

/// A case as arguments.
pub struct Case {
    pub name: String,
    pub cols: usize,
    pub logits: Vec<f32>,
    pub classes: Option<Vec<i64>>,
    pub probabilities: Vec<f32>,
    pub weights: Option<Vec<f32>>,
    pub value: Value,
}

impl Case {
    fn new(value: Value) -> Self {
        let classes = value.get("targets").filter(|targets| !targets.is_null());
        Self {
            name: value["name"].as_str().unwrap().to_owned(),
            cols: value["cols"].as_u64().unwrap() as usize,
            logits: floats(&value["logits"]),
            probabilities: if classes.is_none() { floats(&value["probabilities"]) } else { Vec::new() },
            classes: classes
                .map(|targets| targets.as_array().unwrap().iter().map(|t| t.as_i64().unwrap()).collect()),
            weights: Some(&value["weights"]).filter(|weights| !weights.is_null()).map(floats),
            value,
        }
    }

    pub fn rows(&self) -> Rows<'_> {
        Rows::new(&self.logits, self.cols).unwrap()
    }

    pub fn targets(&self) -> Targets<'_> {
        match &self.classes {
            Some(classes) => Targets::from(classes),
            None => Targets::from(Rows::new(&self.probabilities, self.cols).unwrap()),
        }
    }

    pub fn options(&self) -> CrossEntropy<'_> {
        let mut options = CrossEntropy::default();
        options.ignore_index = self.value["ignore_index"].as_i64();
        options.label_smoothing = number(&self.value["label_smoothing"]);
        options.weights = self.weights.as_deref();
        options.z_loss = self.value["z_loss"].as_f64().unwrap_or(0.0);
        options.softcap = self.value["softcap"].as_f64();
        options
    }

    /// Whether PyTorch multiplies 0 by infinity, or by NaN: there a class of weight 0 counts for nothing here.
    pub fn departs(&self) -> bool {
        ["losses are NaN", "its loss is NaN"].iter().any(|what| self.name.contains(what))
    }
}

/// What Hugging Face lets through.
pub fn samplings() -> impl Iterator<Item = Value> {
    cases("sampling").into_iter()
}

/// What 40 digits say of divergences.
pub fn divergences() -> impl Iterator<Item = Pair> {
    cases("divergence").into_iter().map(Pair::new)
}

/// Two batches of distributions.
pub struct Pair {
    pub name: String,
    pub cols: usize,
    pub p: Vec<f32>,
    pub q: Vec<f32>,
    pub value: Value,
}

impl Pair {
    fn new(value: Value) -> Self {
        Self {
            name: value["name"].as_str().unwrap().to_owned(),
            cols: value["cols"].as_u64().unwrap() as usize,
            p: floats(&value["p"]),
            q: floats(&value["q"]),
            value,
        }
    }

    pub fn side<'a>(&self, kind: &str, data: &'a [f32]) -> Distribution<'a> {
        let rows = Rows::new(data, self.cols).unwrap();
        match self.value[kind].as_str().unwrap() {
            "logits" => Distribution::Logits(rows),
            "log_probabilities" => Distribution::LogProbabilities(rows),
            "probabilities" => Distribution::Probabilities(rows),
            other => panic!("{other}"),
        }
    }

    pub fn temperature(&self) -> f64 {
        number(&self.value["temperature"])
    }
}
