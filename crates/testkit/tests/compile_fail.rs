//! What must not compile, and what the compiler says then: in each program the right line stands before the wrong one.

#[test]
fn wrong_programs_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
