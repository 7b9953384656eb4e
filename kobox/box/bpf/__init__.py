"""eBPF in a box: objects loaded by libbpf, their maps, programs and links (`box.bpf`)."""
