//! What is asked for.

/// How much simulated chaos a seed has unless `--minutes` says otherwise.
const MINUTES: u64 = 10;
/// How many seeds there are unless it is said.
const SEEDS: u64 = 24;
/// How many seeds a canary has to be found in.
const SEEDS_A_CANARY: u64 = 200;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) seed: u64,
    pub(crate) seeds: u64,
    pub(crate) minutes: u64,
    pub(crate) explain: Option<u64>,
    /// The first seed that fails is shrunk, which takes up to 250 runs of it.
    pub(crate) shrink: bool,
    /// The names of known faults to put in; `all` is one of them.
    pub(crate) canary: Option<String>,
}

impl Args {
    /// # Errors
    /// What is wrong with them, for a person to read.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed =
            Self { seed: 1, seeds: 0, minutes: MINUTES, explain: None, shrink: true, canary: None };
        let mut hours = None;
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("`{arg}` wants a value"))?;
            let number = || -> Result<u64, String> {
                value.parse().map_err(|_| format!("`{arg} {value}`: not a number"))
            };
            match arg.as_str() {
                "--seed" => parsed.seed = number()?,
                "--seeds" => parsed.seeds = number()?,
                "--minutes" => parsed.minutes = number()?.max(1),
                "--hours" => hours = Some(number()?),
                "--explain" => parsed.explain = Some(number()?),
                "--shrink" => parsed.shrink = value != "no",
                "--canary" => parsed.canary = Some(value),
                _ => return Err(format!("I do not know `{arg}`")),
            }
        }
        if let Some(hours) = hours {
            parsed.seeds = (hours * 60).div_ceil(parsed.minutes);
        }
        if parsed.seeds == 0 {
            parsed.seeds = if parsed.canary.is_some() { SEEDS_A_CANARY } else { SEEDS };
        }
        Ok(parsed)
    }
}
