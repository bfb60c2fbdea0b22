//! `costguard replay`: what would this policy have done to that traffic?

mod binding;
mod estimate;
mod log;
mod options;
mod plot;
mod pricing;
mod report;
mod reserve;
mod run;
mod series;
mod subjects;
mod tally;

pub(crate) use options::ReplayArgs;
pub(crate) use run::run;
