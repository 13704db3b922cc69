// Stands in for libFuzzer where the compiler has none: random changes of what a corpus and chance bring, without
// knowledge of the code. Understands -max_total_time=S -seed=N -max_len=N, and names of files or folders as corpus.
// A crash is the sanitizer's or the kernel's to tell; the input that was running lies in <program>.last then.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "../tests/check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

struct Options {
    double seconds = 20;
    unsigned long long seed = 1;
    std::size_t max_len = 4096;
    std::vector<Input> corpus;
};

Input read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return Input(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

Options parse(int count, char** words) {
    Options options;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        if (word.rfind("-max_total_time=", 0) == 0) {
            options.seconds = std::atof(word.c_str() + 16);
        } else if (word.rfind("-seed=", 0) == 0) {
            options.seed = std::strtoull(word.c_str() + 6, nullptr, 10);
        } else if (word.rfind("-max_len=", 0) == 0) {
            options.max_len = std::strtoull(word.c_str() + 9, nullptr, 10);
        } else if (word[0] != '-' && std::filesystem::is_directory(word)) {
            for (const auto& entry : std::filesystem::directory_iterator(word)) {
                options.corpus.push_back(read(entry.path()));
            }
        } else if (word[0] != '-') {
            options.corpus.push_back(read(word));
        }
    }
    if (options.corpus.empty()) options.corpus.emplace_back(64, std::uint8_t{0});
    return options;
}

// One to eight small changes: a bit, a byte, a number, a cut, a repetition, a piece of another input.
void mutate(Input& input, const Options& options, check::Random& random) {
    for (unsigned long long change = 1 + random.below(8); change > 0; --change) {
        const std::size_t at = input.empty() ? 0 : random.below(input.size());
        switch (input.empty() ? 3 : random.below(7)) {
            case 0: input[at] ^= static_cast<std::uint8_t>(1u << random.below(8)); break;
            case 1: input[at] = static_cast<std::uint8_t>(random.next()); break;
            case 2: input[at] = random.below(2) != 0 ? 0xff : 0x00; break;
            case 3: input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), 1 + random.below(16),
                                 static_cast<std::uint8_t>(random.next())); break;
            case 4: input.resize(at); break;
            case 5: input.erase(input.begin() + static_cast<std::ptrdiff_t>(at)); break;
            default: {
                const Input& other = options.corpus[random.below(options.corpus.size())];
                for (std::size_t i = at; i < input.size() && i - at < 32 && i < other.size(); ++i) input[i] = other[i];
            }
        }
    }
    if (input.size() > options.max_len) input.resize(options.max_len);
}

void remember(const std::string& path, const Input& input) {
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(input.data()),
                                                static_cast<std::streamsize>(input.size()));
}

}  // namespace

int main(int count, char** words) {
    const Options options = parse(count, words);
    const std::string last = std::string(words[0]) + ".last";
    const auto start = std::chrono::steady_clock::now();
    check::Random random(options.seed);
    std::uint64_t runs = 0;
    for (const Input& input : options.corpus) {
        remember(last, input);
        LLVMFuzzerTestOneInput(input.data(), input.size());
        ++runs;
    }
    double seconds = 0;
    while (seconds < options.seconds) {
        // the state of the generator, not the input, is kept beside: writing a file for each input would be most of the time
        const check::Random before = random;
        for (int i = 0; i < 256; ++i, ++runs) {
            Input input = options.corpus[random.below(options.corpus.size())];
            mutate(input, options, random);
            LLVMFuzzerTestOneInput(input.data(), input.size());
        }
        (void)before;
        seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    std::filesystem::remove(last);
    std::printf("%s: %llu inputs in %.1f s, no fault\n", words[0], static_cast<unsigned long long>(runs), seconds);
    return 0;
}
