"""Native code through LLVM: loop IR to LLVM text, machine code, cache, runtime. llvmlite is imported when first
needed."""
