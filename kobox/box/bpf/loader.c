// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The loader of eBPF objects in a box: libbpf, driven by lines.
 *
 *     stdin   one command a line, its words separated by tabs
 *     stdout  any number of rows, fields separated by tabs, then "ok" or "error<TAB>errno"
 *     log     what libbpf prints comes as rows "say<TAB>level<TAB>text"
 *
 * Text that a file or the kernel gave is written in hexadecimal digits, so that a row is always one row.
 * One process holds one object: its links live as long as it does.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * Debian's static libelf 0.192 leaves out its own search tree, which only elf_getdata_rawchunk() fills: libbpf never
 * calls that, so an empty tree needs nothing.
 */
void eu_search_tree_init(void *tree, void *compare);
void eu_search_tree_fini(void *tree, void *release);
__attribute__((weak)) void eu_search_tree_init(void *tree, void *compare)
{
}
__attribute__((weak)) void eu_search_tree_fini(void *tree, void *release)
{
}

enum { MOST_WORDS = 16, MOST_LINKS = 256, LOG_SIZE = 4 << 20 };

static struct bpf_object *object;
static struct bpf_link *links[MOST_LINKS];
static char line[8 << 20];
static char message[64 << 10];

static void hex(const void *data, size_t size)
{
	const unsigned char *at = data;

	for (size_t n = 0; n < size; n++)
		printf("%02x", at[n]);
}

static void hex_text(const char *text)
{
	hex(text ? text : "", text ? strlen(text) : 0);
}

static int say(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(message, sizeof(message), format, arguments);
	printf("say\t%d\t", level);
	hex_text(message);
	printf("\n");
	return 0;
}

static int by_hex(const char *text, unsigned char *into, size_t size)
{
	for (size_t n = 0; n < size; n++)
		if (sscanf(text + 2 * n, "%2hhx", into + n) != 1)
			return -EINVAL;
	return 0;
}

static struct bpf_program *program_named(const char *name)
{
	return bpf_object__find_program_by_name(object, name);
}

static int open_object(int count, char **words)
{
	LIBBPF_OPTS(bpf_object_open_opts, options);
	struct bpf_program *program;
	struct bpf_map *map;

	if (count < 3 || object)
		return -EINVAL;
	options.object_name = words[2];
	object = bpf_object__open_file(words[1], &options);
	if (!object)
		return -errno;
	bpf_object__for_each_program(program, object) {
		printf("program\t");
		hex_text(bpf_program__name(program));
		printf("\t");
		hex_text(bpf_program__section_name(program));
		printf("\t%d\t%d\t%zu\n", bpf_program__type(program), bpf_program__autoload(program),
		       bpf_program__insn_cnt(program));
	}
	bpf_object__for_each_map(map, object) {
		printf("map\t");
		hex_text(bpf_map__name(map));
		printf("\t%d\t%d\t%u\t%u\n", bpf_map__type(map), bpf_map__is_internal(map),
		       bpf_map__btf_key_type_id(map), bpf_map__btf_value_type_id(map));
	}
	return 0;
}

static int types(int count, char **words)
{
	unsigned size = 0;
	const struct btf *btf = bpf_object__btf(object);
	const void *data = btf ? btf__raw_data(btf, &size) : NULL;

	if (data) {
		printf("value\t");
		hex(data, size);
		printf("\n");
	}
	return 0;
}

static int autoload(int count, char **words)
{
	struct bpf_program *program = count > 2 ? program_named(words[1]) : NULL;

	return program ? bpf_program__set_autoload(program, atoi(words[2])) : -ENOENT;
}

/* initial MAP: its first value. initial MAP OFFSET HEX: change it. */
static int initial(int count, char **words)
{
	struct bpf_map *map = count > 1 ? bpf_object__find_map_by_name(object, words[1]) : NULL;
	unsigned char *value;
	size_t size, offset, length;

	value = map ? bpf_map__initial_value(map, &size) : NULL;
	if (!value)
		return -ENOENT;
	if (count < 4) {
		printf("value\t");
		hex(value, size);
		printf("\n");
		return 0;
	}
	offset = strtoul(words[2], NULL, 10);
	length = strlen(words[3]) / 2;
	if (offset > size || length > size - offset)
		return -ERANGE;
	return by_hex(words[3], value + offset, length);
}

static int resize(int count, char **words)
{
	struct bpf_map *map = count > 2 ? bpf_object__find_map_by_name(object, words[1]) : NULL;

	return map ? bpf_map__set_max_entries(map, strtoul(words[2], NULL, 10)) : -ENOENT;
}

static unsigned program_id(int fd)
{
	struct bpf_prog_info info = {};
	unsigned size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) ? 0 : info.id;
}

static unsigned map_id(int fd)
{
	struct bpf_map_info info = {};
	unsigned size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) ? 0 : info.id;
}

/* The verifier's words on each program that has some. */
static void tell_logs(void)
{
	struct bpf_program *program;
	size_t size;

	bpf_object__for_each_program(program, object) {
		const char *log = bpf_program__log_buf(program, &size);

		if (!log || !*log)
			continue;
		printf("log\t");
		hex_text(bpf_program__name(program));
		printf("\t");
		hex(log, strnlen(log, size));
		printf("\n");
	}
}

static int load(int count, char **words)
{
	struct bpf_program *program;
	struct bpf_map *map;
	int level = count > 1 ? atoi(words[1]) : 0, failed;

	bpf_object__for_each_program(program, object) {
		char *buffer = calloc(1, LOG_SIZE);

		if (!buffer || bpf_program__set_log_buf(program, buffer, LOG_SIZE))
			return -ENOMEM;
		bpf_program__set_log_level(program, level);
	}
	failed = bpf_object__load(object);
	tell_logs();
	if (failed)
		return failed;
	bpf_object__for_each_program(program, object) {
		if (!bpf_program__autoload(program))
			continue;
		printf("loaded\t");
		hex_text(bpf_program__name(program));
		printf("\t%u\n", program_id(bpf_program__fd(program)));
	}
	bpf_object__for_each_map(map, object) {
		if (bpf_map__fd(map) < 0)
			continue;
		printf("mapped\t");
		hex_text(bpf_map__name(map));
		printf("\t%u\n", map_id(bpf_map__fd(map)));
	}
	return 0;
}

static int keep(struct bpf_link *link)
{
	struct bpf_link_info info = {};
	unsigned size = sizeof(info);

	if (!link)
		return -errno;
	for (int n = 0; n < MOST_LINKS; n++)
		if (!links[n]) {
			links[n] = link;
			if (bpf_link__fd(link) >= 0)
				bpf_link_get_info_by_fd(bpf_link__fd(link), &info, &size);
			printf("link\t%d\t%u\n", n, info.id);
			return 0;
		}
	bpf_link__destroy(link);
	return -ENOSPC;
}

/* A clock that calls a perf_event program: `period` nanoseconds of CPU 0's time. */
static int clock_event(unsigned long period)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attributes),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = period,
	};

	return syscall(__NR_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
}

/* `place` is a function of the file at `path`, or an offset in it. */
static int attach_uprobe(struct bpf_program *program, const char *path, const char *place, int at_return)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .retprobe = at_return);
	char *end;
	size_t offset = strtoul(place, &end, 0);

	if (*end || !*place) {
		options.func_name = place;
		offset = 0;
	}
	return keep(bpf_program__attach_uprobe_opts(program, -1, path, offset, &options));
}

/* attach PROGRAM HOW [TARGET…] */
static int attach(int count, char **words)
{
	struct bpf_program *program = count > 2 ? program_named(words[1]) : NULL;
	const char *how = count > 2 ? words[2] : "", *target = count > 3 ? words[3] : "";
	int fd, failed;

	if (!program)
		return -ENOENT;
	if (!strcmp(how, "auto"))
		return keep(bpf_program__attach(program));
	if (!strcmp(how, "xdp"))
		return keep(bpf_program__attach_xdp(program, atoi(target)));
	if (!strcmp(how, "tcx"))
		return keep(bpf_program__attach_tcx(program, atoi(target), NULL));
	if (!strcmp(how, "netkit"))
		return keep(bpf_program__attach_netkit(program, atoi(target), NULL));
	if (!strcmp(how, "kprobe"))
		return keep(bpf_program__attach_kprobe(program, count > 4 && atoi(words[4]), target));
	if (!strcmp(how, "perf_event"))
		return (fd = clock_event(strtoul(target, NULL, 10))) < 0 ? -errno
									  : keep(bpf_program__attach_perf_event(program, fd));
	if (!strcmp(how, "netfilter")) {
		LIBBPF_OPTS(bpf_netfilter_opts, options, .pf = atoi(target), .hooknum = count > 4 ? atoi(words[4]) : 0,
			    .priority = count > 5 ? atoi(words[5]) : 0);
		return keep(bpf_program__attach_netfilter(program, &options));
	}
	if (!strcmp(how, "uprobe"))
		return attach_uprobe(program, target, count > 4 ? words[4] : "", count > 5 && atoi(words[5]));
	fd = open(target, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!strcmp(how, "cgroup"))
		failed = keep(bpf_program__attach_cgroup(program, fd));
	else if (!strcmp(how, "netns"))
		failed = keep(bpf_program__attach_netns(program, fd));
	else
		failed = -EINVAL;
	close(fd);
	return failed;
}

/* sockets PROGRAM MAP on|off: before 6.10 there is no link for a map of sockets */
static int attach_sockets(int count, char **words)
{
	struct bpf_program *program = count > 3 ? program_named(words[1]) : NULL;
	int map = program ? bpf_object__find_map_fd_by_name(object, words[2]) : -ENOENT, fd, type;

	if (map < 0)
		return map;
	fd = bpf_program__fd(program);
	type = bpf_program__expected_attach_type(program);
	return strcmp(words[3], "on") ? bpf_prog_detach2(fd, map, type) : bpf_prog_attach(fd, map, type, 0);
}

/* replace PROGRAM ID FUNCTION: what an "freplace", "fentry" or "fexit" is for: a function of a loaded program. */
static int replace(int count, char **words)
{
	struct bpf_program *program = count > 3 ? program_named(words[1]) : NULL;
	int fd = program ? bpf_prog_get_fd_by_id(strtoul(words[2], NULL, 10)) : -ENOENT;

	return fd < 0 ? fd : bpf_program__set_attach_target(program, fd, words[3]); /* libbpf uses `fd` until it loads */
}

/* code PROGRAM: its instructions, as libbpf gives them to the kernel */
static int code(int count, char **words)
{
	struct bpf_program *program = count > 1 ? program_named(words[1]) : NULL;

	if (!program)
		return -ENOENT;
	printf("value\t");
	hex(bpf_program__insns(program), bpf_program__insn_cnt(program) * sizeof(struct bpf_insn));
	printf("\n");
	return 0;
}

/*
 * Before 6.6 there is no link for tc: a filter of cls_bpf on the clsact qdisc.
 * tc PROGRAM IFINDEX in|out on; tc PROGRAM IFINDEX in|out off HANDLE PRIORITY
 */
static int traffic(int count, char **words)
{
	struct bpf_program *program = count > 4 ? program_named(words[1]) : NULL;
	LIBBPF_OPTS(bpf_tc_hook, hook);
	LIBBPF_OPTS(bpf_tc_opts, options);
	int failed;

	if (!program)
		return -ENOENT;
	hook.ifindex = atoi(words[2]);
	hook.attach_point = strcmp(words[3], "in") ? BPF_TC_EGRESS : BPF_TC_INGRESS;
	if (strcmp(words[4], "on")) {
		if (count < 7)
			return -EINVAL;
		options.handle = strtoul(words[5], NULL, 10);
		options.priority = strtoul(words[6], NULL, 10);
		return bpf_tc_detach(&hook, &options);
	}
	failed = bpf_tc_hook_create(&hook);
	if (failed && failed != -EEXIST)
		return failed;
	options.prog_fd = bpf_program__fd(program);
	failed = bpf_tc_attach(&hook, &options);
	if (!failed)
		printf("filter\t%u\t%u\n", options.handle, options.priority);
	return failed;
}

static int attach_struct_ops(int count, char **words)
{
	struct bpf_map *map = count > 1 ? bpf_object__find_map_by_name(object, words[1]) : NULL;

	return map ? keep(bpf_map__attach_struct_ops(map)) : -ENOENT;
}

/* iterator PROGRAM [map NAME | cgroup DIRECTORY] */
static int attach_iterator(int count, char **words)
{
	struct bpf_program *program = count > 1 ? program_named(words[1]) : NULL;
	union bpf_iter_link_info info = {};
	LIBBPF_OPTS(bpf_iter_attach_opts, options);
	int fd = -1, failed;

	if (!program)
		return -ENOENT;
	if (count > 3 && !strcmp(words[2], "map")) {
		info.map.map_fd = bpf_object__find_map_fd_by_name(object, words[3]);
		if ((int)info.map.map_fd < 0)
			return -ENOENT;
	} else if (count > 3) {
		fd = open(words[3], O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		info.cgroup.cgroup_fd = fd;
		info.cgroup.order = BPF_CGROUP_ITER_DESCENDANTS_PRE;
	}
	if (count > 3) {
		options.link_info = &info;
		options.link_info_len = sizeof(info);
	}
	failed = keep(bpf_program__attach_iter(program, &options));
	if (fd >= 0)
		close(fd);
	return failed;
}

static int detach(int count, char **words)
{
	unsigned number = count > 1 ? atoi(words[1]) : MOST_LINKS;
	int failed;

	if (number >= MOST_LINKS || !links[number])
		return -ENOENT;
	failed = bpf_link__destroy(links[number]);
	links[number] = NULL;
	return failed;
}

/* pin KIND NAME PATH; without a name, maps and programs of the whole object under a directory */
static int pin(int count, char **words)
{
	if (count < 4)
		return -EINVAL;
	if (!strcmp(words[1], "link"))
		return bpf_link__pin(links[atoi(words[2]) & (MOST_LINKS - 1)], words[3]);
	if (!strcmp(words[1], "program"))
		return bpf_program__pin(program_named(words[2]), words[3]);
	if (!strcmp(words[1], "map"))
		return bpf_map__pin(bpf_object__find_map_by_name(object, words[2]), words[3]);
	return bpf_object__pin(object, words[3]);
}

static int record(void *context, void *data, size_t size)
{
	unsigned *left = context;

	printf("record\t0\t");
	hex(data, size);
	printf("\n");
	return --*left ? 0 : -EINTR;
}

static void sample(void *context, int cpu, void *data, __u32 size)
{
	printf("record\t%d\t", cpu);
	hex(data, size);
	printf("\n");
}

static void lost(void *context, int cpu, __u64 count)
{
	printf("lost\t%d\t%llu\n", cpu, (unsigned long long)count);
}

static struct ring_buffer *rings[64];
static struct perf_buffer *perfs[64];
static int buffer_fds[64];

/* records MAP MOST MILLISECONDS: what has come into a ring buffer or a perf buffer; waits where there is nothing. */
static int records(int count, char **words)
{
	struct bpf_map *map = count > 3 ? bpf_object__find_map_by_name(object, words[1]) : NULL;
	static unsigned left;
	int n, got;

	if (!map)
		return -ENOENT;
	for (n = 0; n < 63 && buffer_fds[n] && buffer_fds[n] != bpf_map__fd(map); n++)
		;
	buffer_fds[n] = bpf_map__fd(map);
	left = strtoul(words[2], NULL, 10);
	if (bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF) {
		if (!rings[n])
			rings[n] = ring_buffer__new(bpf_map__fd(map), record, &left, NULL);
		if (!rings[n])
			return -errno;
		got = ring_buffer__consume(rings[n]);
		if (!got)
			got = ring_buffer__poll(rings[n], atoi(words[3]));
	} else {
		if (!perfs[n])
			perfs[n] = perf_buffer__new(bpf_map__fd(map), 16, sample, lost, NULL, NULL);
		if (!perfs[n])
			return -errno;
		got = perf_buffer__poll(perfs[n], atoi(words[3]));
	}
	return got < 0 && got != -EINTR ? got : 0;
}

static const struct {
	const char *name;
	int (*run)(int count, char **words);
} COMMANDS[] = {
	{ "open", open_object },
	{ "btf", types },
	{ "autoload", autoload },
	{ "initial", initial },
	{ "resize", resize },
	{ "load", load },
	{ "attach", attach },
	{ "tc", traffic },
	{ "struct_ops", attach_struct_ops },
	{ "iterator", attach_iterator },
	{ "sockets", attach_sockets },
	{ "replace", replace },
	{ "code", code },
	{ "detach", detach },
	{ "pin", pin },
	{ "records", records },
};

static int obey(void)
{
	char *words[MOST_WORDS], *rest = line;
	int count = 0;

	line[strcspn(line, "\n")] = 0;
	while (rest && count < MOST_WORDS)
		words[count++] = strsep(&rest, "\t");
	for (size_t n = 0; n < sizeof(COMMANDS) / sizeof(*COMMANDS); n++)
		if (!strcmp(words[0], COMMANDS[n].name))
			return object || !n ? COMMANDS[n].run(count, words) : -EINVAL;
	return -ENOSYS;
}

int main(void)
{
	static char output[1 << 16];

	setvbuf(stdout, output, _IOFBF, sizeof(output));
	libbpf_set_print(say);
	while (fgets(line, sizeof(line), stdin)) {
		int failed = obey();

		if (failed < 0)
			printf("error\t%d\n", -failed);
		else
			printf("ok\n");
		fflush(stdout);
	}
	return 0;
}
