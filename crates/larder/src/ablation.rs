//! Places where a simulation may take something out of the engine. Nothing is there in any other build.

/// Whether one of these known faults is active: the constant `false`, unless it is a build with canaries.
#[cfg(larder_canary)]
macro_rules! ablated {
    ($($canary:ident),+) => { $($crate::canary::is_active($crate::canary::Canary::$canary))||+ };
}
#[cfg(not(larder_canary))]
macro_rules! ablated {
    ($($canary:ident),+) => {
        false
    };
}

/// What a known fault does where it is active: `Name => expression`, or `Name: variable = what it becomes`.
#[cfg(larder_canary)]
macro_rules! ablate {
    ($canary:ident => $do:expr) => {
        if ablated!($canary) {
            $do
        }
    };
    ($canary:ident: $variable:ident = $fault:expr) => {
        let $variable = if ablated!($canary) { $fault } else { $variable };
    };
}
#[cfg(not(larder_canary))]
macro_rules! ablate {
    ($($nothing:tt)*) => {};
}
