use crate::runner::tests;
tests![];
