/* An XDP program that counts frames and lets them pass: libbpf makes a map named count.bss of `counted`. */
struct frame;
int counted;

__attribute__((section("xdp"), used)) int count(struct frame *frame)
{
	counted += 1;
	return 2; /* XDP_PASS */
}

__attribute__((section("license"), used)) char license_of_count[] = "GPL";
