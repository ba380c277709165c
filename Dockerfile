# The CPU program alone, without a shell or a package manager around it.
#
#     docker build -t yoloslim --build-arg COMMIT=$(git rev-parse --short=12 HEAD) .
#     docker run --rm -v "$PWD":/work -w /work yoloslim info yolov3.cfg

FROM rust:1-slim-bookworm AS build
ARG COMMIT=unknown
WORKDIR /source
COPY . .
RUN YOLOSLIM_COMMIT="$COMMIT" cargo build --release --locked --bin yoloslim

FROM gcr.io/distroless/cc-debian12
COPY --from=build /source/target/release/yoloslim /usr/local/bin/yoloslim
COPY --from=build /source/LICENSE-MIT /source/LICENSE-APACHE /licences/
ENTRYPOINT ["yoloslim"]
